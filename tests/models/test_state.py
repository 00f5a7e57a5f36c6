"""Rows of a table of more than 2**31 numbers, of which a test touches a few: the rest of it is never in memory."""

import torch

from models.state import State

LAYERS, ROWS, ROW = 24, 256, (64, 64, 128)
"""A model of 1.5 billion parameters with 128 documents and an answer of each."""


def test_rows_are_copied_from_anywhere_in_a_table():
    table = torch.empty((LAYERS, ROWS, *ROW), dtype=torch.int8)
    assert table.numel() > 2**31
    state, marks = State({"ssm": table}), [0, 127, ROWS - 1]
    for mark in marks:
        table[:, mark] = mark % 100 + 1
    taken = state.gather(marks[::-1])["ssm"]
    assert [taken[:, place].unique().tolist() for place in range(3)] == [[mark % 100 + 1] for mark in marks[::-1]]
    state.scatter_([1, ROWS - 2], State({"ssm": taken[:, :2] + 50}))
    found = {row: table[:, row].unique().tolist() for row in (0, 1, 127, ROWS - 2, ROWS - 1)}
    assert found == {0: [1], 1: [106], 127: [28], ROWS - 2: [78], ROWS - 1: [56]}
