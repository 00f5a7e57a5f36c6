"""States in int8 are near what they were, take a quarter, and are read whatever the settings of the reader say."""

import numpy as np
import pytest
import torch

from models.engine.request import ReadState
from pipeline.states import int8, stored
from pipeline.storage import header, objects
from tests.pipeline.states.test_snapshot import random_state, snapshot_of

GENERATOR = np.random.default_rng(5)


def floats(*shape: int) -> np.ndarray:
    return GENERATOR.normal(size=shape).astype(np.float32) * 10.0 ** GENERATOR.integers(-6, 6, (*shape[:-1], 1))


def test_each_number_is_within_half_a_step_of_its_row():
    state = {"ssm": floats(3, 1, 4, 8, 64).astype(np.float32), "empty": np.zeros((2, 0, 32), np.float32)}
    state["ssm"][0, 0, 0, 0] = 0
    found = int8.unpacked(int8.packed(state))
    step = np.abs(state["ssm"]).max(-1, keepdims=True) / int8.LEVELS
    assert (np.abs(found["ssm"] - state["ssm"]) <= step * 0.5001).all()
    assert found["ssm"].dtype == np.float32 and found["empty"].shape == (2, 0, 32)


def test_bfloat16_comes_back_as_its_bits():
    values = torch.from_numpy(floats(2, 9, 2, 32).astype(np.float32)).bfloat16()
    bits = values.view(torch.uint16).numpy()
    found = int8.unpacked(int8.packed({"keys": bits}))["keys"]
    assert found.dtype == np.uint16
    again = torch.from_numpy(found).view(torch.bfloat16).float()
    step = values.float().abs().amax(-1, keepdim=True) / int8.LEVELS
    assert ((again - values.float()).abs() <= step * 1.01).all()
    sizes = [sum(array.nbytes for array in state.values()) for state in (int8.packed({"keys": bits}), {"keys": bits})]
    assert sizes[0] == sizes[1] * (32 + 4) / 64


@pytest.mark.parametrize("array", [floats(4, 3), np.full((2, 32), np.inf, np.float32), np.arange(40)], ids=str)
def test_what_would_gain_nothing_or_lose_much_stays(array):
    assert int8.packed({"a": array})["a"] is array


def test_a_snapshot_in_int8_is_read_by_whoever_knows_of_it_and_no_older_code(tmp_path):
    uri, taken = str(tmp_path / "x.safetensors"), snapshot_of(random_state())
    stored.store(uri, taken)
    exact, plain = objects.stat(uri).size_bytes, stored.load(uri)
    assert header.about(uri)["format"] == header.FORMAT
    stored.store(uri, taken, in_int8=True)
    assert header.about(uri)["format"] == header.SEGMENTED
    assert objects.stat(uri).size_bytes < 0.55 * exact
    found = stored.load(uri).read_state
    assert isinstance(found, ReadState) and found.state.keys() == plain.read_state.state.keys()
    for name, array in plain.read_state.state.items():
        assert np.allclose(found.state[name], array, atol=np.abs(array).max() / 200)
