"""The embedded model, in `model/`, and how it is made."""
