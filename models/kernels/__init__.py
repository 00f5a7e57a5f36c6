"""The fast path on a GPU: Triton kernels that do what the mixers of `models.mamba` do, on rows of a table."""

import os

# The same arithmetic with every version of Triton: 3.10 will no longer fuse products and sums unless told to.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
