"""GPUs as their makers rate them, for quotes where nothing has been measured. Datasheet figures, dense, no sparsity."""

from dataclasses import dataclass

from configs.errors import ConfigError

GIGA, TERA = 10**9, 10**12


@dataclass(frozen=True)
class Gpu:
    name: str
    memory_bytes: int
    flops: float
    """Per second, bf16 matrix products."""
    bandwidth: float
    """Bytes per second."""


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("L40S", 48 * GIGA, 362 * TERA, 0.86 * TERA),
        Gpu("A100", 80 * GIGA, 312 * TERA, 2.0 * TERA),
        Gpu("H100", 80 * GIGA, 989 * TERA, 3.35 * TERA),
        Gpu("H200", 141 * GIGA, 989 * TERA, 4.8 * TERA),
    )
}
"""The smallest first."""


def gpu_named(name: str) -> Gpu:
    """By a name as a driver, Ray or a person gives it, such as `NVIDIA H100 80GB HBM3`. Raises ConfigError."""
    words = name.upper().replace("-", " ").split()
    for known in GPUS:
        if known in words:
            return GPUS[known]
    raise ConfigError(f"GPU {name!r}: nothing is known of it; there are {', '.join(GPUS)}, in configs/hardware.py")
