"""Turning by positions: kinds that configs name, and those that are refused."""

import pytest
import torch

from models.hybrid import rotary


def test_part_of_a_head_turns_and_the_rest_keeps_still():
    part = rotary.of_config({"rope_theta": 100.0, "partial_rotary_factor": 0.5}, 16)
    x, positions = torch.randn(7, 3, 16, dtype=torch.float64), torch.arange(7)
    turned = rotary.turned(x, *part.turns(positions, part.frequencies(), torch.float64))
    assert torch.equal(turned[..., 8:], x[..., 8:])
    for position in range(7):
        for angle in range(4):
            turn = torch.polar(torch.tensor(1.0), torch.tensor(position * 100.0 ** (-angle / 4)))
            pair = torch.complex(x[position, :, angle], x[position, :, 4 + angle]) * turn
            assert torch.allclose(torch.complex(turned[position, :, angle], turned[position, :, 4 + angle]), pair)


@pytest.mark.parametrize(
    "fields",
    [
        {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}},
    ],
)
def test_both_spellings_of_a_scaling_say_the_same(fields):
    kind = rotary.of_config(fields, 8)
    assert torch.allclose(kind.frequencies() * 2, 5e5 ** (-torch.arange(4) / 4))


@pytest.mark.parametrize("kind", ["dynamic", "longrope", "mystery"])
def test_other_scalings_are_refused_by_name(kind):
    with pytest.raises(ValueError, match=f"rope_type = '{kind}': supported are default, linear, llama3, yarn"):
        rotary.of_config({"rope_scaling": {"rope_type": kind, "factor": 2.0}}, 8)
