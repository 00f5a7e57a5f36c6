"""Tables of states of more than 2**31 numbers, of which a test touches a few: the rest of it is never in memory."""

from collections import deque

import numpy as np
import pytest
import torch

from models.backends.recurrent import RecurrentBackend
from models.kernels.backbone import FastPath
from models.mamba.language_model import MambaLM
from models.state import State
from tests.models.kernels.kernel_model import build


def of_one_layer(model: MambaLM) -> MambaLM:
    one = MambaLM(model.config.model_copy(update={"n_layer": 1}))
    one.load_state_dict({name: each for name, each in model.state_dict().items() if ".layers.1." not in name})
    return one.eval().requires_grad_(False)


def sparse(model: MambaLM, rows: int) -> State:
    """A table of so many rows, of which the system gives memory for those that are written."""
    one = model.empty_state(1)
    return one.map(lambda tensor: torch.from_numpy(np.zeros((1, rows, *tensor.shape[2:]), np.float32)))


@pytest.mark.parametrize("form", ["siso", "mamba2"])
def test_kernels_and_forks_find_a_row_behind_two_thousand_million_numbers(form):
    """In 32 bits its place would be that of another row, or before the table's beginning."""
    model = of_one_layer(build(form, "cpu"))
    ssm = model.empty_state(1)["ssm"][0]
    far = 2**31 // ssm.numel() + 3
    table, small = sparse(model, far + 2), model.empty_state(3)
    near = {far: 0, 1: 1, far + 1: 2}
    fast, tokens = FastPath(model), torch.arange(150) % 61
    for slots, rows in ((table, list(near)), (small, list(near.values()))):
        fast.prefill_(tokens, [0, 70, 71, 150], slots, rows, tokens[:0])
        fast.decode_(tokens[:3], slots, rows)
    for row, place in near.items():
        for name in small:
            assert torch.equal(table[name][:, row], small[name][:, place]), (row, name)
    backend = RecurrentBackend.__new__(RecurrentBackend)
    backend._states, backend._free = table, deque([far - 1])
    fork = backend.fork(far, 0)
    assert fork == far - 1 and torch.equal(table["ssm"][:, fork], table["ssm"][:, far])
    assert table["ssm"][:, far - 2].count_nonzero() == 0
