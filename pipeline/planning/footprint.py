"""Memory and arithmetic of a model, and of a transformer of its size.

n tokens, P parameters, Z layers, D width. GB are 10**9 bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

STATE_BYTES_PER_NUMBER = 4
WIDTHS = {"float32": 4, "bfloat16": 2, "int8": 2, "float8": 2}
"""Bytes of a number in a cache of keys and values, and of a parameter, by the dtype of weights: those of 8 bits are
matrices alone."""
SCAN_FLOPS = 6
"""FLOPs per token and number of the recurrent state: decay, write and read, each a multiplication and an addition."""
SSM_OVERHEAD = 1.07
"""Of weights, where no cache needs room."""
TRANSFORMER_OVERHEAD = 1.15


@dataclass(frozen=True)
class Footprint:
    """What a model takes in memory and arithmetic."""

    parameters: int
    """Number of parameters; a tied head counts once."""
    state_bytes: int
    """Of one document, whatever its length."""
    flops_per_token: float
    """FLOPs of reading, without attention to earlier tokens; logits are only needed at a document's end."""
    cache_numbers: int = 0
    """Keys and values of a token, in all layers of attention."""
    attention_flops: float = 0.0
    """FLOPs that a token takes for each token before it."""
    vocab_size: int = 0
    """Rows of the embedding."""
    passes_share: float = 0.0
    """Of a GPU's memory beside the weights, what is left to passes: of a model whose passes are not ours."""
    max_context: int | None = None
    """Tokens that the model was made for; None where nothing says so, or nothing grows with them."""

    exact_bytes: Mapping[str, int] = field(default_factory=dict)
    """Of all weights by their dtype, where some are kept in another."""

    def weights_bytes(self, dtype: str) -> int:
        """Memory of all parameters, in bytes."""
        return self.exact_bytes.get(dtype, self.parameters * WIDTHS[dtype])

    def cache_bytes(self, num_tokens: int, bytes_per_number: int = 2) -> int:
        """Keys and values of a document, as numbers of the weights' width."""
        return self.cache_numbers * num_tokens * bytes_per_number

    def reading_flops(self, tokens_before: float) -> float:
        """FLOPs of reading a token which has so many before it, on average."""
        return self.flops_per_token + self.attention_flops * tokens_before


@dataclass(frozen=True)
class Transformer:
    """A dense decoder with grouped attention."""

    name: str
    parameters: int
    num_layers: int
    num_kv_heads: int
    head_dim: int
    width: int

    def kv_cache_bytes(self, num_tokens: int, batch: int = 1, bytes_per_value: int = 2) -> int:
        """Size of the KV cache of `num_tokens` tokens."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * num_tokens * batch * bytes_per_value

    def flops(self, num_tokens: int) -> float:
        """FLOPs of reading `num_tokens` tokens at once: the weights for each, and attention to all before it."""
        return 2.0 * self.parameters * num_tokens + 2.0 * self.num_layers * self.width * float(num_tokens) ** 2


TRANSFORMERS = (
    Transformer("Llama-3.2-1B", 1_240_000_000, 16, 8, 64, 2048),
    Transformer("Llama-3.2-3B", 3_210_000_000, 28, 8, 128, 3072),
    Transformer("Llama-3.1-8B", 8_030_000_000, 32, 8, 128, 4096),
    Transformer("Yi-34B", 34_400_000_000, 60, 8, 128, 7168),
    Transformer("Llama-3.1-70B", 70_600_000_000, 80, 8, 128, 8192),
)


def transformer_like(parameters: int) -> Transformer:
    """The published transformer that is nearest in size."""
    return min(TRANSFORMERS, key=lambda each: abs(each.parameters / parameters - 1))


def vram_gb(parameters_billions: float, bytes_per_parameter: float, overhead: float, state_or_cache_gb: float) -> float:
    """Planning figure: weights with an allowance, and what documents take."""
    return parameters_billions * bytes_per_parameter * overhead + state_or_cache_gb
