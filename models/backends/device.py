"""The device that a model runs on: waiting until its work is done."""

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything that was asked of it. On a CPU every call returns when it has.

    Raises what broke the device meanwhile: on an accelerator errors show late, and here at the latest.
    """
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
