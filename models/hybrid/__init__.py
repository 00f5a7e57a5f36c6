"""Transformers and hybrids of them with Mamba-2, as others publish them: attention, MLPs, experts, their families."""
