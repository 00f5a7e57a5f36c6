"""What each family of published checkpoints writes into config.json, and what it calls its tensors."""
