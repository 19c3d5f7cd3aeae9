"""chattpl measures what a chat template does to a fine-tuned language model."""
