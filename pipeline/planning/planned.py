"""A model for planning: a checkpoint, or a size that does not have to exist.

A share of its layers may be attention: none in a state space model, about a tenth in a hybrid, all in a transformer. It
has that share of a transformer's cache and of its attention's arithmetic. GB are 10**9 bytes.
"""

from dataclasses import dataclass
from math import inf

from configs.errors import ConfigError
from configs.hardware import RESERVE_BYTES
from models.backends.adapted import Sizes
from models.backends.capacity import LOGITS_BYTES_PER_PLACE
from models.hybrid.architecture import HybridConfig
from models.mamba.architecture import Mamba3Config, MambaConfig
from pipeline.planning.footprint import (
    SCAN_FLOPS,
    SSM_OVERHEAD,
    STATE_BYTES_PER_NUMBER,
    TRANSFORMER_OVERHEAD,
    TRANSFORMERS,
    Footprint,
    Transformer,
    transformer_like,
    vram_gb,
)
from pipeline.planning.model import footprint, footprint_of_adapted

GB = 10**9
BYTES_PER_PARAMETER = {"bfloat16": 2, "int8": 1, "float8": 1}
PLANNED_DTYPES = ("bfloat16", "float8")
"""Of the planning table: int8 takes what float8 does."""
VOCAB_SIZE = 128_256
"""Of the tokenizer of all published Mamba-3 models."""
NEAR = 3
"""A transformer that differs in size by more than this factor is not compared with."""


@dataclass(frozen=True)
class Planned:
    """A model as planning sees it: its size, without its weights."""

    name: str
    parameters: int
    state_bytes: int
    """State of one document, in the layers without attention."""
    flops_per_token: float
    """FLOPs of reading, without attention to earlier tokens."""
    attention: Transformer | None
    """The published transformer that is nearest in size, whose attention layers are assumed; None if none is near."""
    attention_share: float = 0.0
    vocab_size: int = VOCAB_SIZE
    own: Footprint | None = None
    """Of a checkpoint, whose own attention counts."""
    is_adapted: bool = False
    """Whether transformers runs it: how fast that is nobody can tell by arithmetic, and which of its layers attend is
    not known, so that all count as such where memory grows with a document."""

    @property
    def overhead(self) -> float:
        """Weights plus workspace, as a multiple of the weights; interpolated for a hybrid."""
        return SSM_OVERHEAD + self.attention_share * (TRANSFORMER_OVERHEAD - SSM_OVERHEAD)

    def width(self, dtype: str) -> float:
        """Bytes per parameter in that dtype; of a checkpoint, as it is loaded."""
        if self.own is not None:
            return self.own.weights_bytes(dtype) / self.parameters
        return BYTES_PER_PARAMETER[dtype]

    def vram_bytes(self, bytes_per_parameter: float, documents_bytes: float = 0) -> float:
        """Memory of weights, workspace and documents."""
        return GB * vram_gb(self.parameters / GB, bytes_per_parameter, self.overhead, documents_bytes / GB)

    def cache_bytes(self, num_tokens: int) -> float:
        """Size of the KV cache of one document, in bfloat16 whatever the weights are."""
        if self.own is not None:
            return self.own.cache_bytes(num_tokens)
        return self.attention_share * self.attention.kv_cache_bytes(num_tokens) if self.attention else 0

    def document_bytes(self, num_tokens: int) -> float:
        """Memory of one document in flight: state and logits twice, its own and an answer's, and a shared KV cache."""
        return 2 * (self.state_bytes + self.vocab_size * LOGITS_BYTES_PER_PLACE) + self.cache_bytes(num_tokens)

    def documents_that_fit(self, memory_bytes: int, bytes_per_parameter: float, num_tokens: int) -> int | None:
        """Number of documents of `num_tokens` that fit on a GPU at a time, none where they are longer than the model's
        context; None if not even the weights fit."""
        room = memory_bytes - RESERVE_BYTES - self.vram_bytes(bytes_per_parameter)
        if room < 0:
            return None
        room *= 1 - (self.own.passes_share if self.own else 0)
        return int(room // self.document_bytes(num_tokens)) if num_tokens <= self.max_context else 0

    @property
    def max_context(self) -> float:
        """Tokens; infinite where nothing limits them."""
        return (self.own and self.own.max_context) or inf

    def reading_flops(self, num_tokens: int) -> float:
        """FLOPs of reading one token, on average over a document of `num_tokens`."""
        if self.own is not None:
            return self.own.reading_flops(num_tokens / 2)
        if self.attention is None:
            return self.flops_per_token
        attending = 2.0 * self.attention.num_layers * self.attention.width * num_tokens
        return self.flops_per_token + self.attention_share * attending

    def as_transformer(self) -> "Planned | None":
        """A transformer with as many parameters; None if no published one is near."""
        if self.attention is None:
            return None
        return of_size(self.parameters, attention_share=1.0, name="transformer of that size")


def of_checkpoint(name: str, config: MambaConfig | HybridConfig) -> Planned:
    """Exact in memory."""
    share = 0.0
    if isinstance(config, HybridConfig):
        attending, recurrent = len(config.attention_layers), len(config.mamba_layers)
        share = attending / max(1, attending + recurrent)
    return _of_footprint(name, footprint(config), share)


def of_adapted(name: str, sizes: Sizes) -> Planned:
    """Weights as the class has them, and what a document takes as it was found by reading a few tokens without their
    numbers."""
    found = footprint_of_adapted(sizes)
    return _of_footprint(name, found, 1.0 if found.cache_numbers else 0.0, is_adapted=True)


def _of_footprint(name: str, found: Footprint, attention_share: float, is_adapted: bool = False) -> Planned:
    return Planned(
        name,
        found.parameters,
        found.state_bytes,
        found.flops_per_token,
        _near(found.parameters),
        attention_share,
        vocab_size=found.vocab_size,
        own=found,
        is_adapted=is_adapted,
    )


def of_size(
    parameters: int, state_bytes: int | None = None, attention_share: float = 0.0, name: str | None = None
) -> Planned:
    """A projected model. Its state, unless given, is that of a Mamba-3 with the nearest transformer's layers and width.

    Raises ConfigError if that shape is needed but no published transformer is near in size.
    """
    attention = _near(parameters)
    if attention is None and (state_bytes is None or attention_share):
        sizes = ", ".join(f"{each.name} ({each.parameters / GB:.3g}B)" for each in TRANSFORMERS)
        raise ConfigError(
            f"{parameters / GB:.3g}B parameters: no transformer is near whose layers could be taken for those of such "
            f"a model; there are {sizes}. Give its state, and no share of attention"
        )
    if state_bytes is None:
        state_bytes = round((1 - attention_share) * _projected_state_bytes(attention)) if attention else 0
    scan = SCAN_FLOPS * state_bytes / STATE_BYTES_PER_NUMBER
    kind = "transformer" if attention_share == 1 else "hybrid" if attention_share else "model"
    return Planned(name or kind, parameters, state_bytes, 2.0 * parameters + scan, attention, attention_share)


def _near(parameters: int) -> Transformer | None:
    nearest = transformer_like(parameters)
    return nearest if 1 / NEAR <= parameters / nearest.parameters <= NEAR else None


def _projected_state_bytes(shape: Transformer) -> int:
    mixer = Mamba3Config()
    return shape.num_layers * mixer.expand * shape.width * mixer.d_state * STATE_BYTES_PER_NUMBER


@dataclass(frozen=True)
class Size:
    """A row of the planning table."""

    model: Planned
    states_bytes: int
    """Left for states: of the 2 to 4 GB that are usual, so much that the published table comes out."""


SIZES = {
    size.model.name: size
    for size in (
        Size(of_size(7 * GB, name="mamba3-7b"), 3_750_000_000),
        Size(of_size(34 * GB, name="mamba3-34b"), 3_000_000_000),
        Size(of_size(70 * GB, name="mamba3-70b"), 3_000_000_000),
        Size(of_size(7 * GB, attention_share=1, name="transformer-7b"), 0),
        Size(of_size(34 * GB, attention_share=1, name="transformer-34b"), 0),
    )
}
"""Projections: no such Mamba-3 has been published."""
