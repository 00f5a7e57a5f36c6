"""The model that a run asks: its weights, its size, and how fast this machine's CPU reads with it."""

import time
from dataclasses import dataclass

import torch

from configs.errors import ModelError
from configs.settings import SummarizeConfig
from models.mamba.architecture import MambaConfig
from models.mamba.language_model import MambaLM
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.planning.footprint import SCAN_FLOPS, STATE_BYTES_PER_NUMBER, Footprint
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
        architecture = checkpoint.check(directory)
        tokenizer = Tokenizer.of_run(config.model)
        tokenizer.check_fits(architecture.padded_vocab_size)
        if not isinstance(architecture, MambaConfig):
            raise ModelError(f"{directory}: models with attention cannot be planned yet")
        return Model(checkpoint.fingerprint(directory), tokenizer, footprint(architecture))

    def timed_speed(self, config: SummarizeConfig) -> Speed:
        """Measured by reading a few dummy tokens."""
        torch.set_num_threads(config.engine.cpus_per_actor)
        started = time.perf_counter()
        model = checkpoint.load(checkpoint.resolve(config.model.uri))
        assert isinstance(model, MambaLM)
        loading = time.perf_counter() - started
        tokens, state = torch.zeros(TIMED_TOKENS, dtype=torch.long), model.empty_state(1)
        with torch.inference_mode():
            for _ in range(2):
                started = time.perf_counter()
                model.prefill_(tokens, [0, TIMED_TOKENS], state, [0], tokens[:1])
        seconds = (time.perf_counter() - started) / TIMED_TOKENS
        return Speed(seconds, 0.0, loading, "timed on this machine just now, answers left out")


def footprint(config: MambaConfig) -> Footprint:
    """The footprint of a Mamba model: exact in memory, the large terms only in arithmetic."""
    with torch.device("meta"):
        model = MambaLM(config)
    parameters = sum(parameter.numel() for parameter in {id(each): each for each in model.parameters()}.values())
    shapes = config.ssm_cfg.state_shapes(config.d_model)
    sizes = {name: torch.Size(shape).numel() for name, shape in shapes.items()}
    backbone = parameters - config.d_model * config.padded_vocab_size * (1 if config.tie_embeddings else 2)
    scan = SCAN_FLOPS * sizes["ssm"] * getattr(config.ssm_cfg, "rank", 1) * config.n_layer
    state_bytes = sum(sizes.values()) * STATE_BYTES_PER_NUMBER * config.n_layer
    return Footprint(parameters, state_bytes, 2.0 * backbone + scan)
