"""Kernels that differ from plain PyTorch on a device are found before they read a document."""

from itertools import pairwise

import pytest
import torch
from structlog.testing import capture_logs

from models.backends import self_test
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


@pytest.mark.parametrize("form", ["siso", "mimo"])
def test_kernels_that_are_right_are_taken(form, device):
    model = build(form, device)
    assert self_test.difference(model, FastPath(model)) < 1e-4
    with capture_logs() as logged:
        assert self_test.agrees(model, FastPath(model))
    assert [entry["event"] for entry in logged] == ["kernels_checked"]


@pytest.mark.parametrize("broken", [Broken, Endless])
def test_kernels_that_differ_are_named_and_not_taken(broken, device):
    model = build("siso", device)
    with capture_logs() as logged:
        assert not self_test.agrees(model, broken(model))
    (entry,) = logged
    assert (entry["event"], entry["log_level"]) == ("kernels_differ", "warning")
    assert entry["error"] > entry["limit"] and "plain PyTorch" in entry["remedy"]


def test_the_model_itself_agrees_exactly_and_its_slots_are_its_own(device):
    model = build("siso", device)
    before = State({name: model.empty_state(1)[name].clone() for name in model.empty_state(1)})
    assert self_test.difference(model, model) == 0
    assert all(torch.equal(before[name], model.empty_state(1)[name]) for name in before)
