"""Whether a device holds what a training keeps there from beginning to end."""

import torch

from configs.errors import ConfigError
from configs.training import TrainConfig
from models.mamba.architecture import MambaConfig
from models.mamba.language_model import MambaLM

WEIGHT_BYTES = 4
LEARNING_BYTES = 4 + 8
"""Of a trained weight: its gradient, and AdamW's two moments."""


def kept_bytes(architecture: MambaConfig, has_lora: bool) -> int:
    """Weights, gradients and what the optimizer remembers; LoRA's own are next to nothing."""
    with torch.device("meta"):
        num_weights = sum(parameter.numel() for parameter in MambaLM(architecture).parameters())
    return num_weights * (WEIGHT_BYTES if has_lora else WEIGHT_BYTES + LEARNING_BYTES)


def require(config: TrainConfig, architecture: MambaConfig, free_bytes: int) -> None:
    """Raises ConfigError where not even that fits; what a step needs beside it, its first one shows."""
    needed = kept_bytes(architecture, config.lora is not None)
    if needed > free_bytes:
        advice = "take a larger GPU" if config.lora else "set lora.rank=16, which needs a quarter, or take a larger GPU"
        raise ConfigError(
            f"start_from = {config.start_from!r}: weights, gradients and optimizer take {needed / 2**30:.1f} GiB, and "
            f"the GPU has {free_bytes / 2**30:.1f} free: {advice}"
        )
