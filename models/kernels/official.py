"""mamba-ssm's own Triton operator for SISO on our state: what a GPU falls back to on which our kernels are not right,
and what they are measured against.

Source: state-spaces/mamba, ops/triton/mamba3. It runs one program per head and segment, keeps turned copies of B and C
of (L, H, N) in memory, and picks its configurations by timing, so that two processes may differ in the last bits.

L = tokens in a pack, S = segments, H = heads, P = head width, N = state channels, A = rotary angles.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from configs.errors import ModelError
from models.mamba.language_model import MambaLM
from models.mamba.mamba3 import Mamba3Mixer
from models.state import State
from models.transfer import moved

NEEDED = "mamba-ssm of 2.3.2 or newer with its Triton operators (MAMBA_SKIP_CUDA_BUILD=TRUE pip install mamba-ssm)"
CHUNK = 64
ONLY = "mamba-ssm's Triton operator is for Mamba-3 SISO without an output norm"


class Operators(NamedTuple):
    """The two kernels that the published wrapper calls, without the wrapper, which rounds the angles to bf16."""

    angles: Callable[..., Any]
    scan: Callable[..., Any]


@cache
def operators() -> Operators:
    """Import the operators alone. Raises ModelError where mamba-ssm is missing or too old."""
    spec = find_spec("mamba_ssm")
    if spec is None or spec.submodule_search_locations is None:
        raise ModelError(f"mamba-ssm is not installed: this needs {NEEDED}")
    try:
        with _without_its_init("mamba_ssm", list(spec.submodule_search_locations)):
            angles = import_module("mamba_ssm.ops.triton.mamba3.angle_dt")
            scan = import_module("mamba_ssm.ops.triton.mamba3.mamba3_siso_fwd")
        return Operators(angles.angle_dt_fwd, scan.mamba3_siso_fwd)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"the installed mamba-ssm has no Mamba-3 operators ({error}): this needs {NEEDED}") from error


@contextmanager
def _without_its_init(name: str, locations: list[str]) -> Iterator[None]:
    """A bare package in place of one whose `__init__` imports extensions that only a CUDA build has."""
    if name in sys.modules:
        yield
        return
    bare = ModuleType(name)
    bare.__path__ = locations
    sys.modules[name] = bare
    try:
        yield
    finally:
        del sys.modules[name]


class OfficialPath:
    """A model's passes (`models.backends.passes.Passes`): documents are read by the operator, answers decoded by plain
    PyTorch. None of our kernels is used."""

    def __init__(self, model: MambaLM) -> None:
        """Raises ModelError where the operator is missing or does not run the model."""
        mixer = model.backbone.blocks[0].mixer
        if not isinstance(mixer, Mamba3Mixer) or mixer.config.is_mimo or mixer.config.is_outproj_norm:
            raise ModelError(ONLY)
        operators()
        self._model = model

    @torch.inference_mode()
    def prefill_(
        self, tokens: Tensor, cu_seqlens: Sequence[int], slots: State, rows: Sequence[int], logits_at: Tensor
    ) -> Tensor:
        """As `MambaLM.prefill_`: logits (len(logits_at), V)."""
        backbone = self._model.backbone
        device = self._model.lm_head.weight.device
        ends = torch.tensor(list(cu_seqlens), dtype=torch.int32)
        tokens, logits_at, bounds = moved([tokens, logits_at, ends], device)
        embedded = backbone.embedding(tokens)
        residual = embedded.float()
        for index, block in enumerate(backbone.blocks):
            layer = slots.layer(index)
            mixer = cast(Mamba3Mixer, block.mixer)
            proj = mixer.in_proj(block.norm(residual).to(embedded.dtype))
            y, after = scan(mixer, proj, layer.gather(rows, dim=0), bounds)
            layer.scatter_(rows, after, dim=0)
            residual = residual + mixer.out_proj(y.to(embedded.dtype))
            if self._model.config.d_mlp:
                residual = residual + block.mlp(block.norm2(residual).to(embedded.dtype))
        return self._model.lm_head(backbone.norm_f(residual).to(embedded.dtype)[logits_at])

    def decode_(self, tokens: Tensor, slots: State, rows: Sequence[int]) -> Tensor:
        """As `MambaLM.decode_`."""
        return self._model.decode_(tokens, slots, rows)


def scan(mixer: Mamba3Mixer, proj: Tensor, state: State, cu_seqlens: Tensor) -> tuple[Tensor, State]:
    """Read a pack in one SISO layer with the official operator.

    proj (L, d_in_proj), state one layer's fp32 (S, ...), cu_seqlens (S + 1,) int32 on the device. Returns the gated y
    (L, H P) and the state after each segment, its angle in fp32, which the published wrapper rounds to bf16.
    """
    config, heads = mixer.config, mixer.num_heads
    if config.is_mimo or config.is_outproj_norm:
        raise ModelError(ONLY)
    z, x, b, c, dt, a, trap, angle = proj.split(mixer.splits, dim=-1)
    dt = F.softplus(dt.float() + mixer.dt_bias)
    a_dt = mixer.activations.decay_rate(a) * dt
    dt, a_dt, trap = (tensor.T.contiguous().unsqueeze(0) for tensor in (dt, a_dt, trap))
    velocity = angle.float()[None, :, None].expand(1, -1, heads, -1).contiguous()
    phases, last_angle = operators().angles(velocity, dt, state["angle"], CHUNK, True, cu_seqlens)
    groups = (1, len(proj), config.ngroups, config.d_state)
    per_head = (1, len(proj), heads, config.headdim)
    *outputs, finals = operators().scan(
        mixer.C_norm(c.reshape(groups)), mixer.B_norm(b.reshape(groups)), x.reshape(per_head), a_dt, dt, trap,
        mixer.C_bias.squeeze(1), mixer.B_bias.squeeze(1), phases, mixer.D, z.reshape(per_head),
        (state["ssm"], state["k"].squeeze(2), state["v"]), chunk_size=CHUNK, return_final_states=True,
        cu_seqlens=cu_seqlens,
    )  # fmt: skip
    ssm, k, v = finals
    after = {"angle": last_angle, "ssm": ssm, "k": k.float().unsqueeze(2), "v": v.to(torch.float32)}
    return outputs[0].flatten(2).squeeze(0), State(after)
