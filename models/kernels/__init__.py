"""The fast path on a GPU: Triton kernels that do what `models.mamba3` does, on rows of a table of slots in place."""
