"""The model that a run asks: its weights, its size, and how fast this machine's CPU reads with it."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from configs.settings import SummarizeConfig
from models.backends import adapted, engines, loading
from models.backends.adapted import Sizes
from models.engine.feed import ArrayFeed
from models.engine.request import Prompt, Request, Sampling
from models.hybrid.architecture import ExpertsShape, HybridConfig, Layer
from models.hybrid.language_model import HybridLM
from models.mamba.architecture import MambaConfig
from models.mamba.language_model import MambaLM
from models.weights import checkpoint, hybrid
from models.weights.tokenizer import Tokenizer
from pipeline.planning.footprint import SCAN_FLOPS, STATE_BYTES_PER_NUMBER, WIDTHS, Footprint
from pipeline.planning.longest import Longest
from pipeline.planning.speed import Speed

TIMED_TOKENS = 4096


@dataclass(frozen=True)
class Model:
    """A `pipeline.planning.quote.Reads`."""

    revision: str
    tokenizer: Tokenizer
    footprint: Footprint

    @staticmethod
    def of(config: SummarizeConfig) -> "Model":
        """That of a run, whose weights are looked at and not loaded. Raises ModelError."""
        directory = checkpoint.resolve(config.model.uri)
        checkpoint.check_dtype(directory, config.model.dtype)
        is_native = loading.is_native(directory, config.model.backend)
        made = footprint(checkpoint.check(directory)) if is_native else footprint_of_adapted(adapted.sizes(directory))
        tokenizer = Tokenizer.of_run(config.model)
        tokenizer.check_fits(made.vocab_size)
        return Model(checkpoint.fingerprint(directory), tokenizer, made)

    def longest(self, config: SummarizeConfig, device: str) -> Longest | None:
        """Of documents that it reads as a whole on a device."""
        return Longest.of(self.footprint, config, self.tokenizer, device)

    def timed_speed(self, config: SummarizeConfig, tokens_before: float = 0.0) -> Speed:
        """Measured by reading a few dummy tokens, twice; of attention to more tokens the arithmetic is added."""
        torch.set_num_threads(config.engine.cpus_per_actor)
        started = time.perf_counter()
        model = loading.loaded(checkpoint.resolve(config.model.uri), torch.float32, "cpu", config.model.backend)
        engine = engines.around(model, (), 1, config.engine.step_tokens_on("cpu"))
        loading_seconds = time.perf_counter() - started
        tokens = np.zeros(min(TIMED_TOKENS, (self.footprint.max_context or TIMED_TOKENS + 2) - 2), np.int64)
        for number in range(2):
            started = time.perf_counter()
            engine.submit(Request(number, ArrayFeed(tokens), (Prompt((0,), Sampling(1)),)))
            while engine.busy:
                engine.step()
        size, seconds = self.footprint, (time.perf_counter() - started) / len(tokens)
        seconds *= size.reading_flops(tokens_before) / size.reading_flops(len(tokens) / 2)
        return Speed(seconds, 0.0, loading_seconds, "timed on this machine just now, answers left out")


def footprint(config: MambaConfig | HybridConfig) -> Footprint:
    """The footprint of a model: exact in memory, the large terms only in arithmetic."""
    return _of_mamba(config) if isinstance(config, MambaConfig) else _of_hybrid(config)


def _of_mamba(config: MambaConfig) -> Footprint:
    with torch.device("meta"):
        parameters = _count(MambaLM(config))
    scan, state_bytes = _recurrence(config.ssm_cfg.state_shapes(config.d_model), config.n_layer)
    backbone = parameters - config.d_model * config.padded_vocab_size * (1 if config.tie_embeddings else 2)
    flops = 2.0 * backbone + scan * getattr(config.ssm_cfg, "rank", 1)
    return Footprint(parameters, state_bytes, flops, vocab_size=config.padded_vocab_size)


def _of_hybrid(config: HybridConfig) -> Footprint:
    with torch.device("meta"):
        parameters = _count(HybridLM(config))
    scan, state_bytes = _recurrence(config.state_shapes(), len(config.mamba_layers))
    embeddings = config.d_model * config.vocab_size * (1 if config.tie_embeddings else 2)
    active = parameters - embeddings - sum(_idle(layer, config.d_model) for layer in config.layers)
    kept = config.kv_shape(torch.bfloat16)
    return Footprint(
        parameters,
        state_bytes,
        2.0 * active + scan,
        cache_numbers=2 * kept.num_layers * kept.num_heads * kept.head_dim,
        # A product with each key and one with each value.
        attention_flops=sum(4.0 * layer.num_heads * layer.head_dim for layer in config.attention_layers),
        vocab_size=config.vocab_size,
        max_context=config.max_context,
        exact_bytes={dtype: hybrid.nbytes(config, *loading.precision(dtype)) for dtype in WIDTHS},
    )


def footprint_of_adapted(sizes: Sizes) -> Footprint:
    """Of a model whose layers only transformers knows: every parameter counts for every token, also where there are
    experts, and keys and values twice, since an answer has a copy of its own."""
    return Footprint(
        sizes.parameters,
        sizes.state_bytes,
        2.0 * sizes.parameters,
        cache_numbers=2 * sizes.token_bytes // WIDTHS["bfloat16"],
        # As `models.backends.capacity.bytes_that_fit` does it.
        passes_share=0.5,
        vocab_size=sizes.vocab_size,
        max_context=sizes.max_context,
    )


def _count(model: torch.nn.Module) -> int:
    """Parameters, each once."""
    return sum(parameter.numel() for parameter in {id(each): each for each in model.parameters()}.values())


def _recurrence(shapes: Mapping[str, tuple[int, ...]], num_layers: int) -> tuple[float, int]:
    """FLOPs per token of all scans, and bytes of a document's state."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    return float(SCAN_FLOPS * sizes.get("ssm", 0) * num_layers), sum(
        sizes.values()
    ) * STATE_BYTES_PER_NUMBER * num_layers


def _idle(layer: Layer, d_model: int) -> int:
    """Parameters of the experts that a token does not see."""
    if not isinstance(layer, ExpertsShape):
        return 0
    expert = (3 if layer.expert.is_gated else 2) * (layer.d_latent or d_model) * layer.expert.d_hidden
    return (layer.num_experts - layer.top_k) * expert
