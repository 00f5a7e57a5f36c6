"""Which kernels run a model: ours, mamba-ssm's or none, by what was asked for and what is right on this device.

A kernel that is right on one GPU, or in one version of its compiler, may be wrong on another. Each is compared with
plain PyTorch when a model is loaded, before it reads a document.
"""

import os
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import structlog
import torch

from configs.errors import ModelError
from models.backends import self_test
from models.backends.passes import Passes
from models.engine.backend import Kernels
from models.hybrid.language_model import HybridLM
from models.mamba.language_model import MambaLM

log = structlog.get_logger()

Tested = TypeVar("Tested")
Wanted: TypeAlias = Literal["auto", "triton", "mamba-ssm", "torch"]
PLAIN = Kernels("torch")
SLOW = "plain PyTorch is used instead, many times slower"


class Choice(NamedTuple):
    """A model's passes, and what runs them."""

    passes: Passes
    kernels: Kernels


def choose(model: MambaLM, wanted: Wanted = "auto") -> Choice:
    """`auto` takes the first that is right: on a GPU our kernels, then mamba-ssm's; else plain PyTorch, with a warning.

    Raises ModelError where what is asked for by name does not run the model, or differs here from plain PyTorch.
    """
    if wanted == "torch" or (wanted == "auto" and not is_on_gpu(model)):
        return Choice(model, PLAIN)
    reasons = []
    for name in MAKERS if wanted == "auto" else (wanted,):
        try:
            return tested(model, name)
        except ModelError as error:
            reasons.append(str(error))
    if wanted != "auto":
        raise ModelError(f"model.kernels = {wanted!r}: {reasons[0]}")
    log.warning("kernels_unavailable", reasons=reasons, remedy=f"{SLOW}; python -m jobs.selftest says more")
    return Choice(model, PLAIN)


def tested(model: MambaLM, name: str) -> Choice:
    """Those kernels. Raises ModelError where they do not run the model, or give something else than plain PyTorch."""
    passes = MAKERS[name](model)
    error = self_test.difference(model, passes)
    refuse_difference(model, f"the kernels of {name} differ", error, self_test.limit(model), kernels=name)
    # The test's own passes, whose graphs hold its states, go with it.
    return Choice(MAKERS[name](model), Kernels(name, error))


def refuse_difference(model: MambaLM | HybridLM, what: str, error: float, limit: float, **about: str) -> None:
    """Raises ModelError where `what` (who differs) is further from plain PyTorch than rounding explains. Otherwise logs
    the test, with what is said `about` it."""
    where = device_name(model)
    if error > limit:
        raise ModelError(
            f"on this device ({where}) {what} from plain PyTorch by {error:.2g}, which rounding does not explain (up "
            f"to {limit:.2g}): please report the device and the versions of torch and triton"
        )
    log.info("kernels_tested", **about, device=where, error=error, limit=limit)


def unless_refused(tested: Callable[[], Tested], wanted: Wanted, remedy: str) -> Tested | None:
    """What a test gives; None where it refuses and `auto` can do without, with a warning of the `remedy`. Raises
    ModelError where kernels are asked for by name."""
    try:
        return tested()
    except ModelError as error:
        if wanted != "auto":
            raise ModelError(f"model.kernels = {wanted!r}: {error}") from error
        log.warning("kernels_unavailable", reasons=[str(error)], remedy=remedy)
        return None


def is_on_gpu(model: MambaLM | HybridLM) -> bool:
    """Whether its weights are."""
    return model.lm_head.weight.device.type == "cuda"


def device_name(model: MambaLM | HybridLM) -> str:
    """Of the GPU that a model is on, or `cpu`."""
    device = model.lm_head.weight.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _ours(model: MambaLM) -> Passes:
    check_device(model)
    from models.kernels.backbone import FastPath  # needs Triton, which comes with torch for CUDA alone

    reason = FastPath.why_not(model)
    if reason is not None:
        raise ModelError(reason)
    return FastPath(model)


def _official(model: MambaLM) -> Passes:
    check_device(model)
    from models.kernels.official import OfficialPath

    return OfficialPath(model)


def check_device(model: MambaLM | HybridLM) -> None:
    """Raises ModelError where no kernel runs: Triton's do on GPUs, or in its interpreter, which tests use."""
    if not is_on_gpu(model) and os.environ.get("TRITON_INTERPRET") != "1":
        raise ModelError("kernels run on a GPU, and the model is on the CPU")


MAKERS: dict[str, Callable[[MambaLM], Passes]] = {"triton": _ours, "mamba-ssm": _official}
"""In order of preference. Each raises ModelError where its kernels do not run a model."""
