"""What runs a model for the engine, and how much fits its device."""
