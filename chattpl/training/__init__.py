"""Training: stock TRL trainers, fed with the token ids that `chattpl.formats` makes."""
