"""GPUs: matching the many names of one, and datasheet figures for what has not been measured.

Figures are of datasheets, dense, without sparsity.
"""

import re
from dataclasses import dataclass

from configs.errors import ConfigError

GIGA, TERA = 10**9, 10**12
MEMORY_TOLERANCE = 0.1
"""Tolerance for a GPU's memory, which is given in GB or GiB, with or without what ECC takes."""
FORMS = re.compile(r"SXM\d?|PCIE|NVL")
IGNORED = re.compile(r"NVIDIA|TESLA|GEFORCE|HBM\d?E?")
"""Words in which two names of one GPU may differ."""
SXM_MEMORY = {"HBM3"}
"""In torch's names of H100s, the memory type stands for the form factor that other names give."""
MEMORY = re.compile(r"(?<![\w.])(\d+)\s?GB?(?!\w)")


@dataclass(frozen=True)
class Gpu:
    """A GPU with its memory and its rated peaks."""

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
    """The GPU with a name as a driver, Ray or a person writes it, such as `NVIDIA H100 80GB HBM3`. Raises
    ConfigError."""
    for known in GPUS.values():
        if _parse(name).model == known.name:
            return known
    raise ConfigError(f"GPU {name!r}: unknown; configs/hardware.py has {', '.join(GPUS)}")


@dataclass(frozen=True)
class _Name:
    """The parts of a GPU's name."""

    model: str
    memory_gb: int | None
    form: str | None


def same_gpu(one: str, other: str) -> bool:
    """Whether two names, as torch, Ray and price lists write them, can be of one GPU."""
    a, b = _parse(one), _parse(other)
    forms_fit = None in (a.form, b.form) or a.form == b.form
    return a.model == b.model and forms_fit and _memory_fits(a.memory_gb, b.memory_gb)


def _memory_fits(one: int | None, other: int | None) -> bool:
    return one is None or other is None or abs(one - other) <= MEMORY_TOLERANCE * max(one, other)


def _parse(name: str) -> _Name:
    """`NVIDIA A100-SXM4-80GB` is an A100 in the form factor SXM with 80 GB. A slice (MIG) counts as another model."""
    whole, mig, part = name.upper().replace("_", " ").partition(" MIG ")
    memory = MEMORY.search(whole)
    words = MEMORY.sub(" ", whole).replace("-", " ").split()
    forms = [word.rstrip("0123456789") for word in words if FORMS.fullmatch(word)]
    if not forms and SXM_MEMORY & set(words):
        forms = ["SXM"]
    model = [word for word in words if not FORMS.fullmatch(word) and not IGNORED.fullmatch(word)]
    return _Name(" ".join(model) + mig + part, int(memory[1]) if memory else None, forms[0] if forms else None)
