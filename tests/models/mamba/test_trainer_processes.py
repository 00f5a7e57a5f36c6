"""Several processes that train together do what one does with the streams of all of them."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from models.mamba.language_model import MambaLM
from models.mamba.trainer import Example, Recipe, StepResult, Stream, Trainer, recompute_blocks, scan_at_once
from tests.small_model import VOCAB_SIZE, build

STEPS = 6


def document(stream: int, number: int) -> Example:
    """The answers are of other lengths in each stream, so that processes have unlike shares of what counts."""
    generator = torch.Generator().manual_seed(100 * stream + number)
    length = 20 + 13 * stream + 7 * number
    tokens = torch.randint(VOCAB_SIZE, (length,), generator=generator, dtype=torch.int32)
    return Example(tokens.numpy(), 3 * stream)


def trained(
    rows: range, recipe: Recipe, *changes: Callable[[MambaLM], None]
) -> tuple[dict[str, torch.Tensor], list[StepResult]]:
    model = build(torch.float64).train().requires_grad_(True)
    for change in changes:
        change(model)
    trainer = Trainer(model, [Stream(partial(document, row), 16) for row in rows], recipe)
    results = [trainer.step(1.0) for _ in range(STEPS)]
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}, results


def one_of_two(rank: int, meeting: str, recipe: Recipe, place: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    weights, results = trained(range(3 * rank, 3 * rank + 3), recipe, recompute_blocks, scan_at_once)
    torch.save({"weights": weights, "results": [vars(result) for result in results]}, f"{place}/{rank}")
    dist.destroy_process_group()


def test_two_processes_of_three_streams_are_one_of_six(tmp_path):
    """With steps in which one process has no token that counts, or none has."""
    recipe = Recipe(1e-2, 0.1, text_weight=0.0, answer_weight=2.0)
    processes.spawn(one_of_two, (str(tmp_path / "meeting"), recipe, str(tmp_path)), nprocs=2)
    weights, results = trained(range(6), recipe)
    assert not torch.equal(weights["lm_head.weight"], build(torch.float64).lm_head.weight)
    for rank in range(2):
        other = torch.load(tmp_path / str(rank), weights_only=True)
        for name, tensor in weights.items():
            torch.testing.assert_close(other["weights"][name], tensor, rtol=1e-9, atol=1e-11, msg=name)
        for one, two in zip(results, other["results"], strict=True):
            assert two == pytest.approx(vars(one), rel=1e-9, nan_ok=True)
