"""The nodes of a Ray cluster: what they are, and whether they are about to go."""
