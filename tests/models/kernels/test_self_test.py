"""Kernels that differ from plain PyTorch on a device are found before they read a document."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

from configs.errors import ModelError
from models.backends import engines, kernels, self_test
from models.engine.feed import ArrayFeed
from models.engine.request import Prompt, Request, Sampling
from models.kernels.backbone import FastPath
from models.state import State
from tests.models.kernels.kernel_model import build


class Broken(FastPath):
    """After the first chunk something is lost, as a missing barrier would do it now and then."""

    def prefill_(self, tokens, cu_seqlens, slots, rows, logits_at):
        logits = super().prefill_(tokens, cu_seqlens, slots, rows, logits_at)
        for row, (start, stop) in zip(rows, pairwise(cu_seqlens), strict=True):
            if stop - start > 64:
                slots["ssm"][:, row] = 0
        return logits


class Endless(FastPath):
    """Something that is not a number."""

    def decode_(self, tokens, slots, rows):
        return super().decode_(tokens, slots, rows) / 0


@pytest.mark.parametrize("form", ["siso", "mimo", "mamba2", "mamba1"])
def test_kernels_that_are_right_are_taken(form, device):
    model = build(form, device)
    with capture_logs() as logged:
        passes, chosen = kernels.choose(model, "triton")
    assert isinstance(passes, FastPath) and chosen.name == "triton" and chosen.error < 1e-4
    assert [entry["event"] for entry in logged] == ["kernels_tested"]


@pytest.mark.parametrize("broken", [Broken, Endless])
def test_kernels_that_differ_are_refused_by_name_and_left_aside_by_auto(broken, device, monkeypatch):
    model = build("siso", device)
    monkeypatch.setitem(kernels.MAKERS, "triton", broken)
    monkeypatch.setattr(kernels, "is_on_gpu", lambda model: True)
    with pytest.raises(ModelError, match=r"model.kernels = 'triton': on this device .* differ from plain PyTorch by"):
        kernels.choose(model, "triton")
    with capture_logs() as logged:
        assert kernels.choose(model) == (model, kernels.PLAIN)
    (entry,) = logged
    assert (entry["event"], entry["log_level"]) == ("kernels_unavailable", "warning")
    assert "differ from plain PyTorch" in entry["reasons"][0] and "mamba-ssm is not installed" in entry["reasons"][1]
    assert "plain PyTorch" in entry["remedy"]


def test_a_run_with_a_broken_kernel_has_the_answers_of_plain_pytorch(device, monkeypatch):
    model = build("siso", device)

    def answers(wanted: kernels.Wanted) -> tuple[str, dict[str, tuple[int, ...]]]:
        engine = engines.around(model, {60}, 3, 64, kernels=wanted)
        for length in (70, 3, 20):
            tokens = np.random.default_rng(length).integers(0, 60, length)
            engine.submit(Request(f"doc{length}", ArrayFeed(tokens), (Prompt((3, 1), Sampling(4)),)))
        found = {}
        while engine.busy:
            found |= {str(each.id): each.answers[0].tokens for each in engine.step().finished}
        return engine.kernels.name, found

    plain = answers("torch")
    monkeypatch.setitem(kernels.MAKERS, "triton", Broken)
    monkeypatch.setattr(kernels, "is_on_gpu", lambda model: True)
    assert answers("auto") == plain == ("torch", plain[1])
    assert len(plain[1]) == 3


def test_on_a_cpu_nothing_is_tried_and_what_is_asked_for_is_refused(monkeypatch):
    model = build("siso", "cpu")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with capture_logs() as logged:
        assert kernels.choose(model) == (model, kernels.PLAIN)
    assert not logged
    for name in kernels.MAKERS:
        with pytest.raises(ModelError, match=f"model.kernels = '{name}': kernels run on a GPU"):
            kernels.choose(model, name)


def test_the_model_itself_agrees_exactly_and_its_slots_are_its_own(device):
    model = build("siso", device)
    before = State({name: model.empty_state(1)[name].clone() for name in model.empty_state(1)})
    assert self_test.difference(model, model) == 0
    assert all(torch.equal(before[name], model.empty_state(1)[name]) for name in before)
