"""GPUs: matching the many names of one, and datasheet figures for what has not been measured.

Figures are of datasheets, dense, without sparsity.
"""

import re
from dataclasses import dataclass

from configs.errors import ConfigError

GIGA, TERA = 10**9, 10**12
RESERVE_BYTES = 1 << 30
"""Left to the libraries on a GPU: cuBLAS, captured graphs, what the allocator loses between blocks."""
MEMORY_TOLERANCE = 0.1
"""Tolerance for a GPU's memory, which is given in GB or GiB, with or without what ECC takes."""
FORMS = re.compile(r"SXM\d?|PCIE|NVL|OAM")
IGNORED = re.compile(r"NVIDIA|TESLA|GEFORCE|AMD|INSTINCT|HBM\d?E?|BLACKWELL|SERVER|WORKSTATION|EDITION")
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
        Gpu("A10G", 24 * GIGA, 70 * TERA, 0.6 * TERA),
        Gpu("L4", 24 * GIGA, 121 * TERA, 0.3 * TERA),
        Gpu("RTX 4090", 24 * GIGA, 165 * TERA, 1.01 * TERA),
        Gpu("RTX A6000", 48 * GIGA, 155 * TERA, 0.77 * TERA),
        Gpu("L40S", 48 * GIGA, 362 * TERA, 0.86 * TERA),
        Gpu("A100", 80 * GIGA, 312 * TERA, 2.0 * TERA),
        Gpu("H100", 80 * GIGA, 989 * TERA, 3.35 * TERA),
        Gpu("RTX PRO 6000", 96 * GIGA, 503 * TERA, 1.79 * TERA),
        Gpu("H200", 141 * GIGA, 989 * TERA, 4.8 * TERA),
        Gpu("B200", 180 * GIGA, 2250 * TERA, 8.0 * TERA),
        Gpu("MI300X", 192 * GIGA, 1307 * TERA, 5.3 * TERA),
        Gpu("B300", 262 * GIGA, 2250 * TERA, 8.0 * TERA),
    )
}
"""The smallest first. Those of RTX cards are with sums in fp32; of B200 and B300 an eighth of an HGX board's, and of
B300 the memory that clouds give."""
USUAL = ("L40S", "A100", "H100", "H200")
"""What is compared where nobody names a GPU."""


def gpu_named(name: str) -> Gpu:
    """The GPU with a name as a driver, Ray or a person writes it, such as `NVIDIA H100 80GB HBM3`. Raises
    ConfigError."""
    for known in GPUS.values():
        if _parse(name).model == _parse(known.name).model:
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
    # Some lists write RTX4090.
    return _Name("".join(model) + mig + part, int(memory[1]) if memory else None, forms[0] if forms else None)
