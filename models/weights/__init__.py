"""Files of a model: the hub, checkpoints, tokenizers."""
