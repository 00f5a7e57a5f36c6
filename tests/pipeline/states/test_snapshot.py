"""A stored state is what was stored, or is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from configs.errors import StateError
from models.engine.request import WHOLE, Answer, ReadState
from models.state import State
from models.weights.tokenizer import LIBRARY
from pipeline.documents.sections import Section
from pipeline.documents.tokenize import Position
from pipeline.states.snapshot import Snapshot, from_bytes, refuse, state_key, to_bytes
from pipeline.storage.header import about_of
from tests.small_model import VOCAB_SIZE, build

MAKERS = ["text", "pdf pypdf 5.1"]
KEY = state_key("weights", "tokenizer", "float32", 2)


def tokens_of(length: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(length).integers(0, VOCAB_SIZE - 1, length))


def snapshot_of(state: State, tokens_read: int = 300) -> Snapshot:
    answers = {(0, 0): Answer((4, 5), "stop", 3), (WHOLE, 1): Answer((), "empty", 1, retries=1)}
    return Snapshot(
        document_id="s3://bucket/a b#é.txt",
        source_uri="s3://bucket/a b#é.txt",
        source_etag="e1",
        state_key=KEY,
        made_by="pdf pypdf 5.1",
        tokenized_by=LIBRARY,
        settings_sha256="s",
        run_id="r",
        title="Títle",
        position=Position(tokens=290, offset=1001, encoding="utf-8", parts=3, digest="ab"),
        sections=(Section(None, 0), Section("Two", 64)),
        read_state=ReadState({name: state[name].numpy() for name in state}, tokens_read, (64,), answers),
        tail=np.array([7, 8, 9], np.int32),
    )


def random_state(seed: int = 1) -> State:
    torch.manual_seed(seed)
    return build(torch.float32).empty_state(1).map(torch.randn_like)


def test_what_is_stored_comes_back_to_the_last_bit():
    stored = snapshot_of(random_state())
    found = from_bytes(to_bytes(stored))
    assert replace(found, read_state=None, tail=None) == replace(stored, read_state=None, tail=None)
    assert replace(found.read_state, state=None) == replace(stored.read_state, state=None)
    assert set(found.read_state.state) == set(stored.read_state.state)
    assert all(
        np.array_equal(found.read_state.state[name], stored.read_state.state[name]) for name in stored.read_state.state
    )
    assert found.tail.tolist() == [7, 8, 9]


def test_it_is_a_safetensors_file_whose_head_says_what_it_is():
    data = to_bytes(snapshot_of(random_state()))
    assert set(safetensors.torch.load(data)) == {*random_state(), "tail"}
    about = about_of(data[: 8 + int.from_bytes(data[:8], "little")])
    assert (about["document_id"], about["tokens"], about["state_key"]) == ("s3://bucket/a b#é.txt", 300, KEY)
    assert len(data) < random_state().nbytes + 8192


def test_damage_is_refused_wherever_it_is():
    data = to_bytes(snapshot_of(random_state()))
    header = 8 + int.from_bytes(data[:8], "little")
    title = data.index(b"settings_sha256")
    for place in (3, 20, title, title + 20, header - 30, header + 5, len(data) // 2, len(data) - 1):
        with pytest.raises(StateError):
            from_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    for length in (0, 5, header, len(data) - 4):
        with pytest.raises(StateError):
            from_bytes(data[:length])


def test_another_format_is_refused():
    with pytest.raises(StateError, match="not a stored state"):
        from_bytes(safetensors.torch.save({"a": torch.zeros(2)}))
    other = safetensors.torch.save({"a": torch.zeros(2)}, {"longhaul": json.dumps({"format": "longhaul.snapshot.9"})})
    with pytest.raises(StateError, match=r"longhaul\.snapshot\.9"):
        from_bytes(other)


@pytest.mark.parametrize("part", range(4))
def test_a_state_of_another_maker_is_refused(part):
    made_by: list = ["weights", "tokenizer", "float32", 2]
    made_by[part] = 3 if part == 3 else "other"
    stored = snapshot_of(random_state())
    refuse(stored, KEY, MAKERS, "s", has_sections=True)
    refuse(stored, KEY, MAKERS, "other prompts")
    with pytest.raises(StateError, match="other weights"):
        refuse(stored, state_key(*made_by), MAKERS, "s")
    with pytest.raises(StateError, match="other questions"):
        refuse(stored, KEY, MAKERS, "other prompts", has_sections=True)


def test_a_state_of_what_something_else_made_of_a_document_is_refused():
    stored = snapshot_of(random_state())
    with pytest.raises(StateError, match=r"something else made of the document: pdf pypdf 5\.1"):
        refuse(stored, KEY, ["text", "pdf pypdf 5.2", "json field text"], "s")
    # Where a tokenizer's library cuts otherwise, a number of tokens after a cut says nothing.
    other = replace(stored, tokenized_by="tokenizers 0.1")
    with pytest.raises(StateError, match="tokenizers 0"):
        refuse(other, KEY, MAKERS, "s")
    at_a_cut = replace(other, position=replace(other.position, tokens=other.read_state.tokens_read))
    refuse(at_a_cut, KEY, MAKERS, "s")


def test_log_probabilities_after_a_stored_state_are_those_of_reading_on_bit_by_bit():
    """In the same segments; and without the state they are others."""
    model = build(torch.float32)
    tokens, cut = tokens_of(400), 25 * model.chunk_size
    everywhere = torch.arange(cut)
    with torch.inference_mode():
        first, read_state = model.prefill(tokens[:cut], [0, cut], model.empty_state(1), everywhere)
        rest = (tokens[cut:], [0, 400 - cut])
        on, _ = model.prefill(*rest, read_state, torch.arange(400 - cut))
        stored = from_bytes(to_bytes(snapshot_of(read_state))).read_state.state
        resumed, _ = model.prefill(
            *rest, State({name: torch.tensor(array) for name, array in stored.items()}), torch.arange(400 - cut)
        )
        afresh, _ = model.prefill(*rest, model.empty_state(1), torch.arange(400 - cut))
        whole, _ = model.prefill(tokens, [0, 400], model.empty_state(1), torch.arange(400))
    assert torch.equal(resumed.log_softmax(-1), on.log_softmax(-1))
    assert torch.allclose(torch.cat([first, resumed]), whole, atol=1e-4)
    assert (afresh - on).abs().max() > 0.01
