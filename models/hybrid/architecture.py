"""The shape of a transformer, or of a hybrid of one with Mamba-2, whatever family published it.

A model is a chain of branches on one residual, each a norm and a mixer: x + multiplier * mixer(norm(x)). What others
publish as one layer of attention and an MLP is two layers here.
"""

import math
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field

from models.hybrid.rotary import Rotary
from models.mamba.architecture import FASTEST_CHUNK, Mamba2Config


class Shape(BaseModel):
    """What all parts of an architecture have in common."""

    # Without constants, JSON has no infinity and Mamba-2's dt_limit would not come back.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="constants")


class AttentionShape(Shape):
    """Causal attention, whose queries may share keys and values in groups."""

    kind: Literal["attention"] = "attention"
    num_heads: int = Field(ge=1)
    """HQ."""
    num_kv_heads: int = Field(ge=1)
    """HKV, a divisor of `num_heads`."""
    head_dim: int = Field(ge=1)
    """D."""
    scale: float
    """Of the products of queries and keys."""
    bias: bool = False
    """Of the projections to queries, keys and values."""
    out_bias: bool = False
    has_norms: bool = False
    """RMSNorm of each query and key over its channels."""
    is_rotary: bool = True
    """Whether queries and keys turn with their positions."""


class MambaShape(Mamba2Config):
    """A Mamba-2 mixer, whose width its heads say."""

    kind: Literal["mamba"] = "mamba"
    num_heads: int = Field(ge=1)
    eps: float

    def d_inner(self, d_model: int) -> int:
        """H * P, whatever the model's width."""
        return self.num_heads * self.headdim

    @property
    def norm_eps(self) -> float:
        return self.eps


class MLPShape(Shape):
    """An MLP."""

    kind: Literal["mlp"] = "mlp"
    d_hidden: int = Field(ge=1)
    is_gated: bool = True
    """down(act(gate(x)) * up(x)), or down(act(up(x)))."""
    activation: Literal["silu", "relu2"] = "silu"
    bias: bool = False


class ExpertsShape(Shape):
    """A mixture of experts, each an MLP without biases, beside one that sees every token."""

    kind: Literal["experts"] = "experts"
    num_experts: int = Field(ge=1)
    top_k: int = Field(ge=1)
    expert: MLPShape
    shared: MLPShape
    d_latent: int | None = None
    """What the experts read and write, where it is narrower than the model."""
    latent_bias: bool = False
    router: Literal["softmax", "sigmoid"]
    """`softmax` over the chosen ones' logits, or `sigmoid` of each, chosen with a correction and within groups."""
    num_groups: int = Field(1, ge=1)
    """Of experts, of which a token's come from the best `top_groups` (sigmoid)."""
    top_groups: int = Field(1, ge=1)
    is_normalized: bool = True
    """Whether the weights of a token's experts are divided by their sum (sigmoid)."""
    scaling: float = 1.0
    """What they are multiplied with (sigmoid)."""


Layer = Annotated[AttentionShape | MambaShape | MLPShape | ExpertsShape, Field(discriminator="kind")]


class KVShape(NamedTuple):
    """What attention keeps of each token: a key and a value in every layer of its."""

    num_layers: int
    """Of attention; 0 where nothing grows with the tokens."""
    num_heads: int
    """HKV."""
    head_dim: int
    """D."""
    dtype: torch.dtype

    @property
    def nbytes_per_token(self) -> int:
        return 2 * self.num_layers * self.num_heads * self.head_dim * self.dtype.itemsize


class HybridConfig(Shape):
    """Shape of a language model of attention, Mamba-2, MLPs and experts."""

    d_model: int
    vocab_size: int
    """V: rows of the embedding."""
    tie_embeddings: bool
    eps: float
    """Of the norms."""
    layers: tuple[Layer, ...] = Field(min_length=1)
    """Branches on the residual, in order."""
    rotary: Rotary | None = None
    """How queries and keys turn, where they do."""
    max_context: int | None
    """Positions that the model was made for, as its config states them, also where it has no embedding of them."""
    embedding_multiplier: float = 1.0
    residual_multiplier: float = 1.0
    """Of each branch."""
    logits_divisor: float = 1.0

    @property
    def padded_vocab_size(self) -> int:
        """V, by the name that a Mamba's config has for it."""
        return self.vocab_size

    @property
    def attention_layers(self) -> tuple[AttentionShape, ...]:
        return tuple(layer for layer in self.layers if isinstance(layer, AttentionShape))

    @property
    def mamba_layers(self) -> tuple[MambaShape, ...]:
        return tuple(layer for layer in self.layers if isinstance(layer, MambaShape))

    @property
    def chunk_size(self) -> int:
        """Tokens that Mamba-2 computes at a time."""
        return min((layer.scan_chunk for layer in self.mamba_layers), default=FASTEST_CHUNK)

    def kv_shape(self, dtype: torch.dtype) -> KVShape:
        """What attention keeps of each token in a model of that dtype."""
        shapes = {(layer.num_kv_heads, layer.head_dim) for layer in self.attention_layers}
        assert len(shapes) <= 1, "all attention layers of a model keep the same"
        heads, width = next(iter(shapes), (0, 0))
        return KVShape(len(self.attention_layers), heads, width, dtype)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """What one document leaves in each layer of Mamba-2; nothing where there is none."""
        if not self.mamba_layers:
            return {}
        return self.mamba_layers[0].state_shapes(self.d_model)


def default_scale(head_dim: int) -> float:
    """Of attention, where a config names none."""
    return 1 / math.sqrt(head_dim)
