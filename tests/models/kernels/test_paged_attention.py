"""Attention over pages on a GPU, or in Triton's interpreter, gives what plain PyTorch gives of whole tensors."""

from collections.abc import Callable

import pytest
import structlog
import torch

from configs.errors import ModelError
from models.backends import attention
from models.hybrid.architecture import KVShape
from models.hybrid.attention import WholeCache
from models.hybrid.page_attention import Gathered
from models.hybrid.paged_cache import PagedCache
from models.kernels import paged_attention
from models.kernels.paged_attention import PagedAttention
from tests.hybrid_model import build

PAGE, FEW = 64, 8
HEADS = {"grouped": (6, 2, 8), "one_key_head": (4, 1, 20), "no_groups": (3, 3, 16), "many_groups": (12, 1, 8)}
"""Of queries, of keys and values, and their channels."""


@pytest.fixture(autouse=True)
def short_spans(monkeypatch):
    """The interpreter is slow."""
    monkeypatch.setattr(paged_attention, "SPAN_TOKENS", 64)
    monkeypatch.setattr(paged_attention, "FEW_TOKENS", FEW)


class Both:
    """The same sequences in pages and as whole tensors."""

    def __init__(self, heads: tuple[int, int, int], dtype: torch.dtype, device: str) -> None:
        self.query_heads, self.key_heads, self.width = heads
        self.device, self.dtype, self.open = torch.device(device), dtype, {}
        shape = KVShape(1, self.key_heads, self.width, dtype)
        self.cache = PagedCache(shape, 60, device, PAGE, self._attention)
        self.judge = WholeCache(shape, 8, device)

    def _attention(self, pieces):
        return PagedAttention(pieces, self.query_heads // self.key_heads, PAGE, self.device)

    def read(self, lengths: dict[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass, by row; what it gives in pages and of whole tensors."""
        for row in lengths.keys() - self.open.keys():
            self.open[row] = self.cache.open(200)
        rows, counts = list(lengths), list(lengths.values())
        works = self.cache.of_pass([self.open[row] for row in rows], counts), self.judge.of_pass(rows, counts)
        torch.manual_seed(sum(counts))
        heads = [self.query_heads, self.key_heads, self.key_heads]
        qkv = torch.randn(sum(counts), sum(heads), self.width).to(self.device, self.dtype)
        ours, theirs = (work.attend(0, *qkv.split(heads, dim=1), 0.4) for work in works)
        return ours, theirs

    def fork(self, row: int, into: int) -> None:
        self.open[into] = self.cache.fork(self.open[row], 100)
        self.judge.fork(row, into)


@pytest.mark.parametrize(
    ("heads", "dtype"), [*((heads, torch.float32) for heads in HEADS), ("grouped", torch.bfloat16)], ids=str
)
def test_documents_prompts_and_answers_of_any_mix_attend_as_if_alone(heads, dtype, device):
    both = Both(HEADS[heads], dtype, device)
    found = [both.read(lengths) for lengths in ({0: 70, 1: 1, 2: FEW + 1}, {2: 3, 0: 20, 1: FEW})]
    for fork in (3, 4, 5):
        both.fork(0, fork)
    found += [both.read(lengths) for lengths in ({3: 4, 4: 2, 5: 17}, {3: 1, 4: 1, 5: 1}, {0: 16, 3: 1, 4: 2, 1: 1})]
    tolerance = 2e-6 if dtype == torch.float32 else 2e-2
    for ours, theirs in found:
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_what_runs_beside_a_sequence_changes_nothing_of_it(device):
    outputs = []
    for others in ({}, {1: 70, 2: 1}):
        both = Both(HEADS["grouped"], torch.float32, device)
        opened = [both.cache.open(500) for _ in (0, *others)]
        for length in (70, 5, 1):
            torch.manual_seed(length)
            work = both.cache.of_pass(opened, [length, *others.values()])
            qkv = torch.cat([torch.randn(count, 10, 8) for count in (length, sum(others.values()))]).to(device)
            outputs.append(work.attend(0, *qkv.split([6, 2, 2], dim=1), 0.4)[:length])
    assert all(torch.equal(alone, beside) for alone, beside in zip(outputs[:3], outputs[3:], strict=True))


@pytest.fixture
def small_test(monkeypatch):
    monkeypatch.setattr(attention, "HELD", (130, 0, 60, 3))
    monkeypatch.setattr(attention, "LENGTHS", (1, 40, 5, 9))


@pytest.mark.usefixtures("small_test")
def test_the_test_at_load_lets_a_right_kernel_through_and_a_wrong_one_not(device, monkeypatch):
    model = build("hybrid", torch.float32).to(device)
    choice = attention.choose(model, "triton")
    assert choice.kernels.name == "triton" and choice.kernels.error < 1e-6
    right = PagedAttention.attend

    def wrong(self: PagedAttention, *arguments: torch.Tensor) -> torch.Tensor:
        return right(self, *arguments) * 1.01

    monkeypatch.setattr(PagedAttention, "attend", wrong)
    with pytest.raises(ModelError, match=r"attention over pages differs from plain PyTorch by 0\.01"):
        attention.choose(model, "triton")
    with structlog.testing.capture_logs() as logs:
        monkeypatch.setattr(attention, "is_on_gpu", lambda model: True)
        assert attention.choose(model) == attention.Choice(Gathered, attention.PLAIN)
    assert [each["event"] for each in logs] == ["kernels_unavailable"]


def test_on_a_cpu_torch_attends_and_kernels_by_name_are_refused(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    model = build("transformer", torch.float32)
    assert attention.choose(model).kernels == attention.PLAIN
    refused: dict[str, Callable[[], object]] = {
        "the model is on the CPU": lambda: attention.choose(model, "triton"),
        "has no attention over pages": lambda: attention.choose(model, "mamba-ssm"),
    }
    for words, choose in refused.items():
        with pytest.raises(ModelError, match=words):
            choose()
