"""Kernels run in Triton's interpreter where there is no GPU."""

import os

import torch

if not torch.cuda.is_available():
    # Triton asks when it is imported, and tests beside those of the kernels import transformers, which imports it.
    os.environ["TRITON_INTERPRET"] = "1"
