"""Where there is no GPU to run on, one sentence says why."""

import re

import pytest
import torch
from structlog.testing import capture_logs

from configs.errors import ModelError
from models.backends import device, loading
from models.weights import checkpoint


def refuse(reason: str):
    def init() -> None:
        raise RuntimeError(reason)

    return init


@pytest.mark.parametrize(
    ("built_for", "visible", "reason", "told"),
    [
        (None, None, "", "this torch is a build without CUDA"),
        ("13.0", "", "", "CUDA_VISIBLE_DEVICES is empty"),
        (
            "13.0",
            None,
            "The NVIDIA driver is too old (found version 11040).\nMore.",
            "found version 11040).",
        ),
        ("13.0", None, None, "finds no device; does nvidia-smi?"),
    ],
)
def test_what_is_wrong_with_torch_or_the_driver(monkeypatch, built_for, visible, reason, told):
    monkeypatch.setattr(torch.version, "cuda", built_for)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", (lambda: None) if reason is None else refuse(reason))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    for asks in (device.gpu_name, lambda: device.check(torch.float32)):
        with pytest.raises(ModelError, match=f"torch .* sees no GPU on .*: .*{re.escape(told)}") as caught:
            asks()
        assert "\n" not in str(caught.value)


@pytest.fixture
def old_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**30, 15 * 2**30))


@pytest.mark.usefixtures("old_card")
def test_an_old_card_has_no_bfloat16():
    with pytest.raises(ModelError, match=r"Tesla T4 has compute capability 7\.5 and no bfloat16: set model\.dtype="):
        device.check(torch.bfloat16)
    device.check(torch.float32)


@pytest.mark.usefixtures("old_card")
def test_a_model_that_does_not_fit_names_the_memory(monkeypatch, tmp_path):
    def too_much(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(checkpoint, "load", too_much)
    with pytest.raises(ModelError, match=r"Tesla T4 has 15\.0 GiB, .* \(1\.0 are free\): .*sizing"):
        loading.loaded(tmp_path, torch.float32, "cuda")


@pytest.mark.parametrize(
    ("name", "count", "told"),
    [
        ("NVIDIA H100 80GB HBM3", 1, {}),
        ("NVIDIA H100 80GB HBM3", 8, {"one_of_several_gpus": "uses the first; a run with engine.actors=N uses N"}),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", 1, {"slice_of_a_gpu": "its share of the memory and multiprocessors"}),
    ],
)
def test_which_of_several_gpus_or_how_much_of_one_is_used(monkeypatch, name, count, told):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (19 * 2**30, 20 * 2**30))
    with capture_logs() as logged:
        device.check(torch.bfloat16)
    assert {entry["event"]: entry["gpu"] for entry in logged} == dict.fromkeys(told, name)
    assert all(told[entry["event"]] in entry["remedy"] for entry in logged)
