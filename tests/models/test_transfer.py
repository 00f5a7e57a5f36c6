"""What goes to a device goes in one buffer, and each part begins where a kernel may take it."""

import torch

from models.transfer import ALIGNMENT, copied, moved, on_device

CPU = torch.device("cpu")
PARTS = [
    torch.arange(5),
    torch.zeros(0, dtype=torch.int32),
    torch.arange(3, dtype=torch.int32),
    torch.tensor([0.5], dtype=torch.float64),
    torch.arange(9, dtype=torch.int32),
]


def test_parts_of_any_type_and_length_are_the_same_behind_one_copy():
    there = copied(PARTS, CPU)
    assert all(map(torch.equal, there, PARTS))
    assert [part.dtype for part in there] == [part.dtype for part in PARTS]
    assert len({part.untyped_storage().data_ptr() for part in there}) == 1
    begin = there[0].data_ptr()
    assert all((part.data_ptr() - begin) % ALIGNMENT == 0 for part in there)


def test_what_is_there_already_stays_as_it_is():
    elsewhere = torch.arange(3, device="meta")
    first, second = moved([PARTS[0], elsewhere], torch.device("meta"))
    assert second is elsewhere and first.device.type == "meta" and first.shape == (5,)
    assert moved(PARTS, CPU) == PARTS
    assert on_device([2, 0], torch.int32, CPU).tolist() == [2, 0]
