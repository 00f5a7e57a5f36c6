"""The self-test says what runs a model here, and its exit code whether that is right."""

import json

import torch

from jobs import exits, selftest
from models.backends import attention, kernels, recurrence
from models.hybrid.page_attention import ByRuns
from tests import hybrid_model
from tests.small_model import build


def test_without_a_gpu_it_says_so_and_times_plain_pytorch(warm, small_model):
    done = warm("jobs.selftest", [small_model, "--json"])
    assert done.returncode == exits.SUCCESS, done.stderr
    report = json.loads(done.stdout)
    rows = {row["kernels"]: row for row in report["kernels"]}
    assert rows["torch"]["tokens_per_second"] > 0 and report["torch"] == torch.__version__
    if report["device"] == "cpu":
        assert rows["triton"]["verdict"] == "not used" and "run on a GPU" in rows["triton"]["reason"]
    shown = warm("jobs.selftest", [small_model])
    assert "the judge" in shown.stdout and "tokens/s" in shown.stdout


def test_kernels_that_differ_are_told_and_those_that_agree_too(monkeypatch):
    model = build(torch.float32)

    class Wrong:
        def __init__(self, model):
            self.prefill_, self._model = model.prefill_, model

        def decode_(self, *arguments):
            return 1.5 * self._model.decode_(*arguments)

    monkeypatch.setitem(kernels.MAKERS, "triton", Wrong)
    monkeypatch.setitem(kernels.MAKERS, "mamba-ssm", lambda model: model)
    wrong, right = (selftest._row(model, name) for name in ("triton", "mamba-ssm"))
    assert wrong["verdict"] == "differs" and wrong["error"] > wrong["limit"] and "report it" in wrong["reason"]
    assert (right["verdict"], right["error"]) == ("agrees", 0)


def test_of_a_hybrid_its_layers_of_mamba_2_are_judged_too(monkeypatch):
    model = hybrid_model.build("hybrid", torch.float32)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    rows = selftest._rows_of_hybrid(model)
    assert [row["kernels"] for row in rows] == ["triton, of Mamba-2", "triton", "torch"]
    assert rows[0]["verdict"] == "not used" and "on the CPU" in rows[0]["reason"]
    monkeypatch.setattr(recurrence, "ours", lambda model: model.recurrences)
    assert selftest._rows_of_hybrid(model)[0]["verdict"] == "agrees"
    monkeypatch.setattr(recurrence, "difference", lambda model, made: 0.3)
    assert selftest._rows_of_hybrid(model)[0]["verdict"] == "differs"


def test_of_a_model_with_attention_it_is_the_attention_that_is_judged(monkeypatch):
    model = hybrid_model.build("hybrid", torch.float32)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    triton, judge = selftest._rows_of_attention(model)
    assert triton["verdict"] == "not used" and "on the CPU" in triton["reason"]
    assert judge["verdict"] == "the judge" and judge["tokens_per_second"] > 0
    monkeypatch.setattr(attention, "ours", lambda model: ByRuns)
    assert selftest._rows_of_attention(model)[0]["verdict"] == "agrees"
    monkeypatch.setattr(attention, "difference", lambda model, made: 0.3)
    assert selftest._rows_of_attention(model)[0]["verdict"] == "differs"
