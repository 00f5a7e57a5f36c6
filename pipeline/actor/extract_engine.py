"""Makes extracts where a run asks for nothing else: no model, and a CPU alone.

Documents come as tokens, as they do to a model, so that attempts, snapshots, resuming and costs are the same. The
shipped tokenizer is exact: its tokens are the text.
"""

import codecs
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from configs.errors import LonghaulError, StateError, unexpected
from models.engine.request import AnsweredSection, Failed, Finished, Pass, ReadState, Request
from models.weights.tokenizer import Tokenizer
from pipeline.documents.extracts import ExtractPrompts, Extracts

STATE = "extracts"
"""Name of the one array of a state: the bytes of a character that the tokens read so far have begun, behind their
number, and the extracts."""


@dataclass
class _Reading:
    """A document that has been admitted."""

    request: Request
    extracts: Extracts
    held: bytes = b""
    tokens_read: int = 0
    ends: list[int] = field(default_factory=list)
    kept: ReadState | None = None


class ExtractEngine:
    """A `models.engine.summarizer.Summarizer`: reads one document after another, some tokens at each step."""

    def __init__(self, prompts: ExtractPrompts, tokenizer: Tokenizer, slots: int, step_tokens: int) -> None:
        """Reads up to `slots` documents by turns, at most `step_tokens` of one at a step."""
        self._prompts, self._tokenizer = prompts, tokenizer
        self._slots, self._step_tokens = slots, step_tokens
        self._waiting: deque[Request] = deque()
        self._readings: deque[_Reading] = deque()
        """In the order of their turns."""
        self._failed: list[Failed] = []
        self._concluded: list[Finished] = []

    @property
    def kernels(self) -> None:
        """There is no model."""

    @property
    def state_bytes(self) -> int:
        """Of a document of which nothing has been read: it grows with its first 2,000 sentences."""
        return len(Extracts(self._prompts).to_bytes())

    @property
    def busy(self) -> bool:
        """As `Summarizer.busy`."""
        return bool(self._waiting or self._readings or self._concluded or self._failed)

    @property
    def in_slots(self) -> dict[Hashable, int]:
        """As `Summarizer.in_slots`."""
        return {reading.request.id: reading.tokens_read for reading in self._readings}

    def submit(self, request: Request) -> None:
        """As `Summarizer.submit`."""
        self._waiting.append(request)

    def step(self, read: bool = True) -> Pass:
        """Tokens of one document, to its next stop at the most: documents take turns."""
        if read:
            self._admit()
        finished, self._concluded = self._concluded, []
        shares: dict[Hashable, int] = {finished_one.id: 1 for finished_one in finished}
        tokens = 0
        for _ in range(len(self._readings) if read else 0):
            reading = self._readings.popleft()
            try:
                count, is_over = self._read(reading)
                if is_over:
                    finished.append(self._finished(reading))
                else:
                    self._readings.append(reading)
            except Exception as error:  # whatever it is, it is this document's
                self._fail(reading.request, reading.tokens_read, error)
                continue
            if count or is_over:
                shares[reading.request.id], tokens = max(1, count), count
                break
        failed, self._failed = tuple(self._failed), []
        return Pass("prefill" if shares else "wait", shares, tokens, tuple(finished), failed)

    def window_start(self, id: Hashable) -> int:
        """As `Summarizer.window_start`: documents of any length are read as a whole."""
        return 0

    def read_state(self, id: Hashable, since: int = 0) -> ReadState | None:
        """As `Summarizer.read_state`; nothing of it grows."""
        return self._state(self._reading(id))

    def conclude(self, id: Hashable) -> None:
        """As `Summarizer.conclude`."""
        reading = self._reading(id)
        if reading.tokens_read:
            self._readings.remove(reading)
            self._concluded.append(self._finished(reading, so_far=True))

    def withdraw(self, id: Hashable) -> None:
        """As `Summarizer.withdraw`."""
        for request in [each for each in self._waiting if each.id == id]:
            self._waiting.remove(request)
            request.feed.close()
        for reading in [each for each in self._readings if each.request.id == id]:
            self._readings.remove(reading)
            reading.request.feed.close()

    def _reading(self, id: Hashable) -> _Reading:
        return next(reading for reading in self._readings if reading.request.id == id)

    def _admit(self) -> None:
        while self._waiting and len(self._readings) < self._slots:
            request = self._waiting.popleft()
            try:
                self._readings.append(self._begun(request))
            except Exception as error:  # whatever it is, it is this document's
                self._fail(request, request.start.tokens_read if request.start else 0, error)

    def _begun(self, request: Request) -> _Reading:
        start = request.start
        if start is None:
            return _Reading(request, Extracts(self._prompts))
        try:
            stored = start.state[STATE].tobytes()
            begin = 1 + stored[0]
            extracts = Extracts.from_bytes(self._prompts, stored[begin:])
        except (KeyError, ValueError) as error:
            raise StateError(f"The stored state is none of extracts as this version makes them: {error}.") from error
        return _Reading(request, extracts, stored[1:begin], start.tokens_read, list(start.section_ends))

    def _read(self, reading: _Reading) -> tuple[int, bool]:
        """How many tokens were read, and whether the document is at its end."""
        feed = reading.request.feed
        # In this order: what comes in between is not the end.
        ended, ready = feed.ended, feed.ready
        section_end = feed.section_end if self._prompts.of_sections else None
        last_cut = feed.last_cut if reading.request.keep_state else None
        if last_cut == 0 and reading.kept is None:
            reading.kept = self._state(reading)
        count = min(self._step_tokens, *filter(None, (ready, section_end, last_cut)), ready)
        if count:
            text = self._text(reading, feed.take(count))
            reading.tokens_read += count
            is_end = section_end == count
            reading.extracts.feed(text, [len(text)] if is_end else [])
            reading.ends += [reading.tokens_read] * is_end
        return count, ended and count == ready

    def _text(self, reading: _Reading, tokens: np.ndarray) -> str:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(reading.held + self._tokenizer.bytes_of(tokens.tolist()))
        reading.held = decoder.getstate()[0]
        return text

    def _finished(self, reading: _Reading, so_far: bool = False) -> Finished:
        reading.request.feed.close()
        if self._prompts.of_sections and reading.ends[-1:] != [reading.tokens_read]:
            reading.ends.append(reading.tokens_read)
        sections = tuple(AnsweredSection(end, ()) for end in reading.ends)
        rows = tuple(reading.extracts.rows())
        return Finished(reading.request.id, reading.tokens_read, (), sections, so_far, reading.kept, rows)

    def _state(self, reading: _Reading) -> ReadState:
        stored = bytes([len(reading.held)]) + reading.held + reading.extracts.to_bytes()
        state = {STATE: np.frombuffer(stored, np.uint8)}
        return ReadState(state, reading.tokens_read, tuple(reading.ends))

    def _fail(self, request: Request, tokens_read: int, error: Exception) -> None:
        request.feed.close()
        known = error if isinstance(error, LonghaulError) else unexpected(error)
        self._failed.append(Failed(request.id, tokens_read, known))
