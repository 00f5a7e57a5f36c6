"""What a run will cost and where a model fits, before it starts."""
