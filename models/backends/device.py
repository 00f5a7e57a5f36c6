"""The device that a model runs on: which GPU it is, why there is none, and waiting until its work is done."""

import os
import platform

import structlog
import torch

from configs.errors import ModelError

log = structlog.get_logger()

ONE_OF_SEVERAL = "this process uses the first; a run with engine.actors=N uses N, and CUDA_VISIBLE_DEVICES chooses"
MIG = " MIG "
SLICE = "it has its share of the memory and multiprocessors, and a price of its own: price.gpu_hour=X"
BFLOAT16_FROM = (8, 0)
"""Compute capability: A100 and newer."""


def kind_of(wanted: str) -> str:
    """`cpu` or `cuda`: what `auto` is on this machine, a GPU where torch sees one; anything else is itself."""
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def gpu_name() -> str:
    """As torch calls the GPU that this process has. Raises ModelError where it sees none, saying why."""
    if not torch.cuda.is_available():
        raise ModelError(f"torch {torch.__version__} sees no GPU on {platform.node()}: {_why_none()}")
    return torch.cuda.get_device_name()


def check(dtype: torch.dtype) -> None:
    """Raises ModelError where there is no GPU, or it cannot run a model of that dtype."""
    name, capability, count = gpu_name(), torch.cuda.get_device_capability(), torch.cuda.device_count()
    if count > 1:
        log.info("one_of_several_gpus", gpu=name, visible=count, remedy=ONE_OF_SEVERAL)
    if MIG in name:
        log.info("slice_of_a_gpu", gpu=name, memory_gib=round(torch.cuda.mem_get_info()[1] / 2**30, 1), remedy=SLICE)
    if dtype == torch.bfloat16 and capability < BFLOAT16_FROM:
        raise ModelError(
            f"{name} has compute capability {'.'.join(map(str, capability))} and no bfloat16: set "
            "model.dtype=float32, which takes twice the memory, or use an A100, L40S, H100 or newer"
        )


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything that was asked of it. On a CPU every call returns when it has.

    Raises what broke the device meanwhile: on an accelerator errors show late, and here at the latest.
    """
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _why_none() -> str:
    if torch.version.cuda is None:
        return "this torch is a build without CUDA; install one with it there"
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return "CUDA_VISIBLE_DEVICES is empty, so that it may use none"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        # Of a driver that is too old, torch says which version it finds.
        return f"it is made for CUDA {torch.version.cuda}, and says: {str(error).strip().splitlines()[0]}"
    return f"it is made for CUDA {torch.version.cuda} and finds no device; does nvidia-smi?"
