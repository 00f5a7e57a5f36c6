"""The `config.json` of a Mamba checkpoint, in the layout that state-spaces/mamba publishes."""

import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.errors import ModelError
from models.mamba import huggingface

MLP_MULTIPLE = 128
NORM_EPS = 1e-5
SCAN_CHUNK = 32
"""Of Mamba-1, whose published kernels have none. On a CPU 16 takes a sixth longer, and 64 is no faster."""
FASTEST_CHUNK = 64
"""Of Mamba-2 on a CPU, where 32 does as well, 128 takes a twentieth longer and the published 256 a fifth."""


class Mamba1Config(BaseModel):
    """`ssm_cfg` of the published config: one Mamba-1 mixer. Letters: E = d_inner, N = d_state."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    headdim: ClassVar[int] = 1
    """Every channel is a head of its own: it decays at rates and by step sizes of its own."""
    ngroups: ClassVar[int] = 1

    layer: Literal["Mamba1"] = "Mamba1"
    d_state: int = Field(16, ge=1)
    d_conv: int = Field(4, ge=2)
    """W: taps of the short convolution over x."""
    expand: int = 2
    dt_rank: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Of the projection to step sizes; auto: a sixteenth of d_model, rounded up."""
    dt_min: float = 0.001
    dt_max: float = 0.1
    dt_init: Literal["random", "constant"] = "random"
    dt_scale: float = 1.0
    dt_init_floor: float = 1e-4
    conv_bias: bool = True
    bias: bool = False
    """Of the two outer projections."""
    use_fast_path: bool = True
    """Which published kernel runs; nothing here."""
    mixer_rms_eps: float | None = None
    """As in Falcon Mamba, whose B, C and rank of the step size pass an RMS norm without weights; None: no norm."""

    @property
    def scan_chunk(self) -> int:
        """Tokens that are computed at a time."""
        return SCAN_CHUNK

    def step_rank(self, d_model: int) -> int:
        """R: width of what the step sizes are projected from."""
        return math.ceil(d_model / 16) if self.dt_rank == "auto" else self.dt_rank

    def state_shapes(self, d_model: int) -> dict[str, tuple[int, ...]]:
        """What one document leaves in one layer.

        conv (E, W - 1): x of the last tokens before the convolution, the latest last. ssm (N, E): the recurrent
        state h, channels last.
        """
        d_inner = self.expand * d_model
        return {"conv": (d_inner, self.d_conv - 1), "ssm": (self.d_state, d_inner)}


class Mamba3Config(BaseModel):
    """`ssm_cfg` of the published config: one Mamba-3 mixer. Letters: N = d_state, P = headdim, G = ngroups."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    layer: Literal["Mamba3"] = "Mamba3"
    d_state: int = 128
    expand: int = 2
    headdim: int = 64
    ngroups: int = 1
    rope_fraction: Literal[0.5, 1.0] = 0.5
    """Share of the state's channels that rotate; the rest have no phase."""
    dt_min: float = 0.001
    dt_max: float = 0.1
    dt_init_floor: float = 1e-4
    A_floor: float = 1e-4
    a_activation: Literal["heavy_tail", "softplus"] = "heavy_tail"
    """How A comes from its logit. Ours: published configs do not say, and their weights need heavy_tail."""
    chunk_size: int = 64
    is_mimo: bool = False
    mimo_rank: int = 4
    is_outproj_norm: bool = False
    """Grouped RMSNorm of the output before the gate, as in hybrid models."""
    fuse_pregate_headwise_norm: bool = True
    """Which published kernel runs; nothing here."""
    dropout: float = 0.0
    """In training by the published code; nothing here."""

    @property
    def rank(self) -> int:
        """R: rows of B and C that each token brings."""
        return self.mimo_rank if self.is_mimo else 1

    @property
    def scan_chunk(self) -> int:
        """Tokens that are computed at a time."""
        return self.chunk_size

    @property
    def num_angles(self) -> int:
        """A: rotating pairs of channels per head."""
        return int(self.d_state * self.rope_fraction) // 2

    def state_shapes(self, d_model: int) -> dict[str, tuple[int, ...]]:
        """What one document leaves in one layer.

        angle (H, A): cumulative rotary angle, in [0, 2 pi). ssm (H, P, N): the recurrent state h. k (H, R, N): B of
        the last token with bias and rotation, the trapezoid's other end. v (H, P): x of the last token. Channels
        (N) are in turning order: a pair that turns together is side by side.
        """
        heads = self.expand * d_model // self.headdim
        return {
            "angle": (heads, self.num_angles),
            "ssm": (heads, self.headdim, self.d_state),
            "k": (heads, self.rank, self.d_state),
            "v": (heads, self.headdim),
        }


class Mamba2Config(BaseModel):
    """`ssm_cfg` of the published config: one Mamba-2 mixer. Letters: N = d_state, P = headdim, G = ngroups."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    layer: Literal["Mamba2"] = "Mamba2"
    d_state: int = 128
    d_conv: int = Field(4, ge=2)
    """W: taps of the short convolution over x, B and C."""
    conv_init: float | None = None
    """Taps are drawn from [-conv_init, conv_init] before training; None means as torch draws them."""
    expand: int = 2
    headdim: int = 64
    d_ssm: int | None = None
    ngroups: int = 1
    A_init_range: tuple[float, float] = (1.0, 16.0)
    D_has_hdim: bool = False
    rmsnorm: bool = True
    norm_before_gate: bool = False
    dt_min: float = 0.001
    dt_max: float = 0.1
    dt_init_floor: float = 1e-4
    dt_limit: tuple[float, float] = (0.0, math.inf)
    """Between which each step size is held."""
    bias: bool = False
    """Of the two projections."""
    conv_bias: bool = True
    chunk_size: int = 256
    """Of the published kernels; see `scan_chunk`."""
    use_mem_eff_path: bool = True
    """Which published kernel runs; nothing here."""
    sequence_parallel: bool = True
    """How published training shares out a sequence; nothing here."""

    @model_validator(mode="after")
    def _check(self) -> "Mamba2Config":
        supported = {"d_ssm": None, "D_has_hdim": False, "rmsnorm": True, "norm_before_gate": False}
        for field, value in supported.items():
            if (given := getattr(self, field)) != value:
                raise ValueError(f"ssm_cfg.{field} = {given}: Mamba-2 is supported with {value} only")
        return self

    @property
    def scan_chunk(self) -> int:
        """Tokens that are computed at a time."""
        return min(self.chunk_size, FASTEST_CHUNK)

    @property
    def norm_eps(self) -> float:
        """Of the norm after the gate."""
        return NORM_EPS

    def d_inner(self, d_model: int) -> int:
        """H * P, the width of x."""
        return self.expand * d_model

    def conv_channels(self, d_model: int) -> int:
        """C: the channels of x, B and C together."""
        return self.d_inner(d_model) + 2 * self.ngroups * self.d_state

    def state_shapes(self, d_model: int) -> dict[str, tuple[int, ...]]:
        """What one document leaves in one layer.

        conv (C, W - 1): x, B and C of the last tokens before the convolution, the latest last. ssm (H, P, N): the
        recurrent state h.
        """
        return {
            "conv": (self.conv_channels(d_model), self.d_conv - 1),
            "ssm": (self.d_inner(d_model) // self.headdim, self.headdim, self.d_state),
        }


class MambaConfig(BaseModel):
    """Shape of a Mamba language model; field names as published."""

    # Without constants, JSON has no infinity and Mamba-2's dt_limit would not come back.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="constants")

    d_model: int
    d_intermediate: int = 0
    """Of the MLP that follows each mixer; 0: none."""
    n_layer: int
    vocab_size: int
    ssm_cfg: Annotated[Mamba3Config | Mamba2Config | Mamba1Config, Field(discriminator="layer")]
    attn_layer_idx: tuple[int, ...] = ()
    attn_cfg: dict[str, Any] = {}
    rms_norm: bool = True
    norm_epsilon: float = NORM_EPS
    """Of the blocks' norms. Hugging Face's configs say it; in the published layout it is an argument in code alone."""
    residual_in_fp32: bool = True
    """The residual is never narrower than fp32 here."""
    fused_add_norm: bool = True
    pad_vocab_size_multiple: int = 8
    tie_embeddings: bool = True

    @model_validator(mode="before")
    @classmethod
    def _published(cls, given: Any) -> Any:
        """Take Hugging Face's layout too, and Mamba-1's, which names no layer."""
        if not isinstance(given, dict):
            return given
        if "model_type" in given:
            given = huggingface.published(given)
        mixer = given.get("ssm_cfg", {})
        return given | {"ssm_cfg": {"layer": "Mamba1", **mixer}} if isinstance(mixer, dict) else given

    @model_validator(mode="after")
    def _check(self) -> "MambaConfig":
        if self.d_inner % self.ssm_cfg.headdim:
            raise ValueError(
                f"expand * d_model = {self.d_inner} is no multiple of ssm_cfg.headdim = {self.ssm_cfg.headdim}"
            )
        if self.num_heads % self.ssm_cfg.ngroups:
            raise ValueError(f"{self.num_heads} heads cannot share ssm_cfg.ngroups = {self.ssm_cfg.ngroups} groups")
        if self.attn_layer_idx:
            raise ValueError(f"attn_layer_idx = {list(self.attn_layer_idx)}: attention layers are not supported here")
        if not self.rms_norm:
            raise ValueError("rms_norm = false: LayerNorm blocks are not supported here")
        return self

    @property
    def d_inner(self) -> int:
        return self.ssm_cfg.expand * self.d_model

    @property
    def num_heads(self) -> int:
        """H."""
        return self.d_inner // self.ssm_cfg.headdim

    @property
    def padded_vocab_size(self) -> int:
        """V: rows of the embedding."""
        return _round_up(self.vocab_size, self.pad_vocab_size_multiple)

    @property
    def d_mlp(self) -> int:
        """Hidden width of the SwiGLU, rounded as the published code rounds it. Zero means no MLP."""
        return _round_up(self.d_intermediate, MLP_MULTIPLE)


def read_config(path: Path) -> MambaConfig:
    """Read a `config.json`. Raises ModelError naming the field that is wrong."""
    try:
        return MambaConfig.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path.parent} holds no config.json: is it a model directory?") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "config"
        raise ModelError(f"{path}: {field}: {first['msg']}") from error


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
