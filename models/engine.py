"""Reads many documents at once and answers prompts about them. Token ids only.

A slot holds the recurrent state of one document, whose size does not depend on its length. A reading pass packs a
budget of tokens from all documents in the slots, whatever their lengths, without padding. A document that has been read
is forked: each of its prompts goes on from its own copy of the state. Decoding passes advance all answers by a token.
A slot that falls free is refilled before the next pass.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

import numpy as np
import torch

from models.language_model import MambaLM
from models.sampling import Sampler, Sampling, choose_all, loop_start
from models.state import State

WARM_UP_ROUNDS = 3
FinishReason = Literal["stop", "length", "loop"]


@dataclass(frozen=True)
class Prompt:
    """One question about a document."""

    tokens: tuple[int, ...]
    """What is read after the document, at least one token."""
    sampling: Sampling


@dataclass(frozen=True)
class Request:
    """One document and what to ask of it."""

    id: Hashable
    tokens: np.ndarray
    """(L,) int, at least one."""
    prompts: tuple[Prompt, ...]
    """At least one."""

    def __post_init__(self) -> None:
        assert len(self.tokens) and self.prompts and all(prompt.tokens for prompt in self.prompts)


@dataclass(frozen=True)
class Answer:
    tokens: tuple[int, ...]
    """Without the end token, and without the turns of a loop after the first."""
    finish_reason: FinishReason
    tokens_decoded: int
    """Including those that were cut off."""


@dataclass(frozen=True)
class Finished:
    """A document that has been read and asked."""

    id: Hashable
    tokens_read: int
    """Of the document, not of the prompts."""
    answers: tuple[Answer, ...]
    """In the order of the request's prompts."""


@dataclass(frozen=True)
class Pass:
    """What one pass through the model did, for the meter."""

    kind: Literal["prefill", "decode"]
    shares: dict[Hashable, int]
    """Tokens of each document in this pass."""
    document_tokens: int
    """Tokens of documents read in this pass, without prompts."""
    finished: tuple[Finished, ...]


@dataclass
class _Document:
    request: Request
    answers: dict[int, Answer] = field(default_factory=dict)

    def finished(self) -> Finished | None:
        if len(self.answers) < len(self.request.prompts):
            return None
        ordered = tuple(self.answers[index] for index in range(len(self.request.prompts)))
        return Finished(self.request.id, len(self.request.tokens), ordered)


@dataclass
class _Sequence:
    """What occupies a slot: a document being read, or an answer to one of its prompts."""

    document: _Document
    slot: int
    pending: np.ndarray
    """Tokens still to be read."""
    prompt: int | None = None
    """Index of the prompt being answered, None while the document is read."""
    sampler: Sampler | None = None
    output: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class _Fork:
    """An answer that waits for a slot."""

    document: _Document
    prompt: int
    state: State
    """One row, shared by the document's waiting answers."""


class Engine:
    """Slots of constant size, filled from a queue; each `step` is one pass through the model."""

    def __init__(self, model: MambaLM, end_id: int, num_slots: int, step_tokens: int) -> None:
        """Allocates all slots at once. `step_tokens` is the budget of a reading pass, at least one chunk."""
        self._model, self._end_id = model, end_id
        self._chunk = model.chunk_size
        self._budget = max(step_tokens, self._chunk)
        self._device = model.lm_head.weight.device
        self._states = model.empty_state(num_slots)
        self._free = deque(range(num_slots))
        self._requests: deque[Request] = deque()
        self._forks: deque[_Fork] = deque()
        self._sequences: list[_Sequence] = []
        self._decode_next = False

    @property
    def busy(self) -> bool:
        """Whether a document is in a slot or waiting for one."""
        return bool(self._sequences or self._forks or self._requests)

    @property
    def num_waiting(self) -> int:
        """Documents that wait for a slot."""
        return len(self._requests)

    @property
    def state_bytes(self) -> int:
        """Memory of all slots."""
        return self._states.nbytes

    def submit(self, request: Request) -> None:
        """Queue a document. It is admitted when a slot is free."""
        self._requests.append(request)

    @torch.inference_mode()
    def step(self) -> Pass:
        """One pass: reading and decoding take turns while there is work for both."""
        assert self.busy, "step() needs a submitted document"
        self._admit()
        reading = [sequence for sequence in self._sequences if len(sequence.pending)]
        decoding = [sequence for sequence in self._sequences if not len(sequence.pending)]
        self._decode_next = bool(decoding) and (self._decode_next or not reading)
        done = self._decode(decoding) if self._decode_next else self._prefill(reading)
        self._decode_next = not self._decode_next
        return done

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Take all the memory that passes will ever need, so that it does not grow with a document.

        Reading passes over many dummies and over one, and a decoding pass, several times: an allocator takes a few
        rounds to settle. The slots hold rubbish afterwards; a document's admission empties its own.
        """
        rows = min(self._states.num_rows, self._budget // self._chunk)
        packs = [[*range(0, rows * self._chunk, self._chunk), self._budget], [0, self._budget]]
        tokens = torch.zeros(self._budget, dtype=torch.long, device=self._device)
        nothing = torch.zeros(0, dtype=torch.long, device=self._device)
        for bounds in packs * WARM_UP_ROUNDS:
            self._model.prefill_(tokens, bounds, self._states, range(len(bounds) - 1), nothing)
        # On a GPU each power of two is a graph of its own, captured here.
        sizes = {1 << exponent for exponent in range(self._states.num_rows.bit_length())} | {self._states.num_rows}
        for rows in sorted(sizes):
            self._model.decode_(tokens.new_zeros(rows), self._states, range(rows))

    def _admit(self) -> None:
        """Fill free slots: waiting answers first, since their documents hold memory outside the slots."""
        while self._free and (self._forks or self._requests):
            slot = self._free.popleft()
            if self._forks:
                fork = self._forks.popleft()
                self._states.scatter_([slot], fork.state)
                self._answer(fork.document, fork.prompt, slot)
            else:
                request = self._requests.popleft()
                self._states.zero_([slot])
                self._sequences.append(_Sequence(_Document(request), slot, request.tokens))

    def _answer(self, document: _Document, prompt: int, slot: int) -> None:
        asked = document.request.prompts[prompt]
        self._sequences.append(_Sequence(document, slot, np.array(asked.tokens), prompt, Sampler(asked.sampling)))

    def _prefill(self, reading: list[_Sequence]) -> Pass:
        lengths = share_budget([len(sequence.pending) for sequence in reading], self._budget, self._chunk)
        taken = [(sequence, length) for sequence, length in zip(reading, lengths, strict=True) if length]
        sequences, sizes = [sequence for sequence, _ in taken], [length for _, length in taken]
        tokens = np.concatenate([sequence.pending[:size] for sequence, size in taken]).astype(np.int64)
        bounds = [0, *accumulate(sizes)]
        asking = [
            row
            for row, (sequence, size) in enumerate(taken)
            if sequence.prompt is not None and size == len(sequence.pending)
        ]
        logits = self._model.prefill_(
            torch.from_numpy(tokens).to(self._device),
            bounds,
            self._states,
            [sequence.slot for sequence in sequences],
            logits_at=torch.tensor([bounds[row + 1] - 1 for row in asking], dtype=torch.long, device=self._device),
        )
        for sequence, size in taken:
            sequence.pending = sequence.pending[size:]
        finished = self._choose(logits, [sequences[row] for row in asking])
        document_tokens = sum(size for sequence, size in taken if sequence.prompt is None)
        for sequence in sequences:
            if sequence.prompt is None and not len(sequence.pending):
                self._fork(sequence)
        return Pass("prefill", _shares(sequences, sizes), document_tokens, finished)

    def _decode(self, decoding: list[_Sequence]) -> Pass:
        slots = [sequence.slot for sequence in decoding]
        last = torch.tensor([sequence.output[-1] for sequence in decoding], device=self._device)
        logits = self._model.decode_(last, self._states, slots)
        finished = self._choose(logits, decoding)
        return Pass("decode", _shares(decoding, [1] * len(decoding)), 0, finished)

    def _fork(self, sequence: _Sequence) -> None:
        """The first prompt goes on in the document's own slot; the others wait with a copy of the state."""
        document, others = sequence.document, range(1, len(sequence.document.request.prompts))
        if others:
            state = self._states.gather([sequence.slot])
            self._forks.extend(_Fork(document, prompt, state) for prompt in others)
        self._sequences.remove(sequence)
        self._answer(document, 0, sequence.slot)

    def _choose(self, logits: torch.Tensor, sequences: Sequence[_Sequence]) -> tuple[Finished, ...]:
        """Append a token to each answer; free the slots of those that end. Returns documents with no prompt left."""
        if not sequences:
            return ()
        samplers = [sequence.sampler for sequence in sequences if sequence.sampler is not None]
        # Rows of the embedding beyond the vocabulary are padding and never a token.
        chosen = choose_all(logits[:, : self._model.config.vocab_size].float(), samplers)
        finished = []
        for sequence, sampler, token in zip(sequences, samplers, chosen, strict=True):
            sequence.output.append(token)
            answer = self._ended(sequence.output, sampler.sampling.max_tokens)
            if answer is None:
                continue
            assert sequence.prompt is not None
            sequence.document.answers[sequence.prompt] = answer
            self._sequences.remove(sequence)
            self._free.append(sequence.slot)
            if (document := sequence.document.finished()) is not None:
                finished.append(document)
        return tuple(finished)

    def _ended(self, output: list[int], max_tokens: int) -> Answer | None:
        if output[-1] == self._end_id:
            return Answer(tuple(output[:-1]), "stop", len(output))
        if (cut := loop_start(output)) is not None:
            return Answer(tuple(output[:cut]), "loop", len(output))
        if len(output) >= max_tokens:
            return Answer(tuple(output), "length", len(output))
        return None


def share_budget(pending: Sequence[int], budget: int, chunk: int) -> list[int]:
    """Tokens that each reader gets of a pass: equal shares, what short readers leave goes to the long ones.

    A share that does not finish its reader is a multiple of `chunk`, so that a document is cut at the same places
    whatever else is being read. Readers that the budget cannot serve get 0 and keep their place in the order.
    """
    shares = [0] * len(pending)
    left = budget
    waiting = list(range(len(pending)))
    while waiting and left > 0:
        fair = max(left // len(waiting) // chunk * chunk, chunk)
        progress = False
        for reader in list(waiting):
            missing = pending[reader] - shares[reader]
            share = missing if missing <= min(fair, left) else min(fair, left) // chunk * chunk
            shares[reader] += share
            left -= share
            progress |= share > 0
            if shares[reader] == pending[reader]:
                waiting.remove(reader)
        if not progress:
            break
    return shares


def _shares(sequences: Sequence[_Sequence], sizes: Sequence[int]) -> dict[Hashable, int]:
    shares: dict[Hashable, int] = {}
    for sequence, size in zip(sequences, sizes, strict=True):
        key = sequence.document.request.id
        shares[key] = shares.get(key, 0) + size
    return shares
