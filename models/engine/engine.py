"""Reads many documents at once and answers prompts about them. Token ids only.

A slot holds one document, whose sequence is the backend's: the engine knows it by its handle. A prefill pass packs a
budget of tokens from all documents in the slots, whatever their lengths, without padding. A document that has been read
keeps its slot: each of its prompts, and each second try of one, continues a fork of its sequence. So do prompts about a
section, from the document's state at the section's end, before more of it is read. Where a backend's memory grows with
the tokens and runs short, the youngest documents wait on the host (`Parking`).
Decode passes advance all answers by a token; they wait until enough answers share the reading of the weights. A slot
that falls free is refilled before the next pass.

Where the device works by itself, a pass is asked for before the host has the tokens of the one before: they stay on the
device, where the next decoding takes them from, and the host learns a pass late which answers have ended. What the pass
under way still adds to those is dropped.
"""

from collections import deque
from collections.abc import Collection, Hashable, Sequence
from dataclasses import replace

import numpy as np
import torch

from configs.errors import LonghaulError, StateError, TooLargeError, unexpected
from models.engine.backend import Backend, Handle, Kernels, Work
from models.engine.budget import share_budget
from models.engine.pack import Pack
from models.engine.parking import TOO_LARGE, Parking
from models.engine.request import WHOLE, Failed, Finished, Pass, Prompt, ReadState, Request
from models.engine.room import Room
from models.engine.slots import ActiveDocument, AnswerTry
from models.engine.turns import Turns


class Engine:
    """A `Summarizer`: slots that are filled from a queue; each `step` is one pass through the model."""

    def __init__(
        self, backend: Backend, end_ids: Collection[int], num_slots: int, step_tokens: int, preamble: Sequence[int] = ()
    ) -> None:
        """For at most `num_slots` documents in flight, and as many answers, where the backend has room for them.

        An answer ends at any of `end_ids`. `step_tokens` is the budget of a prefill pass, at least one chunk.
        `preamble` are tokens that stand before every document: they are read here, once, and each document is a fork of
        the sequence that holds them.
        """
        self._backend, self._end_ids, self._num_slots = backend, frozenset(end_ids), num_slots
        self._chunk = backend.limits.chunk
        self._budget = max(step_tokens, self._chunk)
        self._room = Room(backend.limits.max_context, len(preamble), self._budget)
        self._preamble_tokens = len(preamble)
        self._beginning = self._read_preamble(preamble)
        self._turns = Turns(enough=max(1, num_slots // 2))
        self._requests: deque[Request] = deque()
        self._documents: list[ActiveDocument] = []
        """The oldest first."""
        self._tries: list[AnswerTry] = []
        self._parking = Parking(backend, self._room, self._documents, self._tries)
        self._failed: list[Failed] = []
        self._under_way: deque[Pack] = deque()
        """Passes that were asked for, whose tokens the host has not seen."""
        self._ended: list[ActiveDocument] = []
        """With all their answers; they leave when no pass under way has a share of them."""
        self._answer_tokens = 0
        """Which decode passes have added to answers since the last step."""
        self._being_read: list[ActiveDocument] = []
        """In a step, those whose states are changed; after one that raised, those whose states are lost."""

    @property
    def busy(self) -> bool:
        """Whether a document is in a slot or waiting for one, or a pass is under way."""
        return bool(self._documents or self._requests or self._under_way)

    @property
    def num_waiting(self) -> int:
        """Documents that wait for a slot."""
        return len(self._requests)

    @property
    def num_reading(self) -> int:
        """Documents in the slots that are not read to their end."""
        return sum(not document.is_read for document in self._documents)

    @property
    def num_answering(self) -> int:
        """Answers in the slots."""
        return len(self._tries)

    @property
    def kernels(self) -> Kernels:
        """What runs the model."""
        return self._backend.kernels

    @property
    def state_bytes(self) -> int:
        """Of one document's state, at its smallest."""
        return self._backend.nbytes

    def submit(self, request: Request) -> None:
        """Queue a document. It is admitted when a slot is free and the backend has room for it."""
        self._requests.append(request)

    @property
    def in_slots(self) -> dict[Hashable, int]:
        """The documents in the slots, each with the tokens read of it, those before its start and those of passes under
        way included."""
        return {document.request.id: document.tokens_read for document in self._documents}

    def longest(self, prompts: Sequence[Prompt]) -> int | None:
        """Tokens that a document which is asked these may have; None where there is no limit."""
        return self._room.longest(prompts)

    def window_start(self, id: Hashable) -> int:
        """As `Summarizer.window_start`: here a document is one sequence."""
        return 0

    @torch.inference_mode()
    def read_state(self, id: Hashable, since: int = 0) -> ReadState | None:
        """A copy of the state of a document in a slot, to resume it elsewhere, after the last pass that was asked for;
        of the arrays that grow with the tokens only what those of its sequence from `since` on have added.

        None while a section is being asked about, since its answers need the state at its end, which is overwritten;
        and of a document that was in a prefill pass which raised.
        """
        document = self._document(id)
        if document in self._being_read:
            return None
        tries = [*document.tries, *(each for each in self._tries if each.document is document)]
        if any(each.section != WHOLE for each in tries):
            return None
        return replace(self._read_state(document, since), answers=dict(document.answers))

    def conclude(self, id: Hashable) -> None:
        """Ask about a document in a slot what has been read of it so far, and read no more of it.

        Does nothing where no token has been read: there is nothing to say about it.
        """
        document = self._document(id)
        if document.tokens_read and not document.is_read:
            document.conclude()
            self._note_end(document)

    def withdraw(self, id: Hashable) -> None:
        """Forget a document, in a slot or waiting for one, and its answers."""
        for request in [each for each in self._requests if each.id == id]:
            self._requests.remove(request)
            request.feed.close()
        for document in [each for each in self._documents if each.request.id == id]:
            self._release(document)

    @torch.inference_mode()
    def step(self, read: bool = True) -> Pass:
        """Ask for one pass: decode where enough answers share it, nothing else can be done, or they have waited long
        enough (`Turns`); else prefill what there is. Then wait for what was asked before it, or for itself where the
        backend runs no passes ahead.

        Without `read` no document is admitted or read further; answers under way are finished. What it raises is the
        device's: a document that cannot be read or asked about is in the pass's `failed`.
        """
        assert self.busy, "step() needs a submitted document"
        self._being_read = [document for pack in self._under_way for document in pack.reading]
        pack = self._ask_for_pass(read)
        if pack is None and self._under_way:
            # What it gives may be something to go on from.
            self._see(leave=0)
            pack = self._ask_for_pass(read)
        self._see(leave=self._backend.limits.passes_ahead if pack is not None else 0)
        self._being_read = []
        finished, failed = self._take_finished(), self._take_failed()
        answer_tokens, self._answer_tokens = self._answer_tokens, 0
        if pack is None:
            return Pass("wait", {}, 0, finished, failed, answer_tokens)
        return Pass(pack.kind, pack.shares, pack.document_tokens, finished, failed, answer_tokens, pack.mark)

    def warm_up(self) -> None:
        """Take all the memory that passes will ever need, so that it does not grow with a document."""
        self._backend.warm_up(self._budget, self._num_slots)

    @torch.inference_mode()
    def _read_preamble(self, tokens: Sequence[int]) -> Handle | None:
        if not tokens:
            return None
        beginning = self._backend.open(len(tokens) if self._backend.limits.max_context is not None else 0)
        for start in range(0, len(tokens), self._budget):
            self._backend.run([Work(beginning, np.array(tokens[start : start + self._budget]))])
        return beginning

    def _admit_documents(self) -> None:
        """Those in the slots come first where memory is short."""
        if self._parking.is_short:
            return
        while self._requests and len(self._documents) < self._num_slots:
            request = self._requests[0]
            try:
                tokens = self._room.of_document(request)
            except Exception as error:  # whatever it is, it is this document's
                self._refuse(request, error)
                continue
            in_slots = [document.request for document in self._documents]
            # Answers under way leave room for others when they end.
            reserve = 0 if self._tries else self._room.reserve([request, *in_slots])
            if self._backend.room_for(tokens + reserve):
                self._admit(request, tokens)
            elif self._documents:
                return
            else:
                self._refuse(request, TooLargeError(TOO_LARGE))

    def _admit(self, request: Request, tokens: int) -> None:
        try:
            handle = self._open(request, tokens)
        except StateError as error:
            self._refuse(request, error)
            return
        self._requests.popleft()
        self._documents.append(ActiveDocument.of(request, handle, tokens))

    def _open(self, request: Request, tokens: int) -> Handle:
        if request.start is not None:
            return self._backend.open(tokens, request.start.state)
        if self._beginning is None:
            return self._backend.open(tokens)
        return self._backend.fork(self._beginning, max(0, tokens - self._preamble_tokens))

    def _refuse(self, request: Request, error: Exception) -> None:
        """The first in the queue, which cannot go in."""
        self._requests.popleft()
        request.feed.close()
        self._record_failure(request, request.start.tokens_read if request.start else 0, error)

    def _admit_answers(self) -> None:
        for document in list(self._documents):
            while document.tries and len(self._tries) < self._num_slots and self._has_room_to_answer(document):
                answering = document.tries.popleft()
                answering.handle = self._backend.fork(document.handle, self._room.of_answer(document.request))
                self._tries.append(answering)

    def _has_room_to_answer(self, document: ActiveDocument) -> bool:
        try:
            tokens = self._room.of_answer(document.request)
            return document.parked is None and self._parking.has_room(document, tokens)
        except TooLargeError as error:
            self._fail(document, error)
            return False

    def _readable(self) -> list[tuple[ActiveDocument, int]]:
        """Documents with tokens that may be read now, in whole chunks or up to the end, and how many.

        Notices on the way which documents are at their end, and which broke off.
        """
        readable = []
        # Answers that wait for slots, and second tries of those under way, are forks of the state at the section's end.
        asked = {each.document for each in self._tries if each.section != WHOLE}
        for document in [each for each in self._documents if not (each.is_read or each.tries or each in asked)]:
            if document.parked is not None:
                continue
            feed = document.request.feed
            try:
                # In this order: what comes in between is not the end.
                ended, count, stops = feed.ended, feed.ready, document.stops()
                self._room.check(document.request, document.tokens_read + count)
            except Exception as error:  # whatever it is, it is this document's
                self._fail(document, error)
                continue
            if ended:
                self._parking.give_back(document, document.tokens_read + count)
            if 0 in stops and document.kept is None:
                document.kept = self._read_state(document)
            if any(stops):
                count = min(filter(None, stops))
            elif ended and not count:
                document.end()
                self._note_end(document)
            elif not ended:
                count -= count % self._chunk
            if count and self._may_read(document, count):
                readable.append((document, count))
        return readable

    def _may_read(self, document: ActiveDocument, count: int) -> bool:
        """So many tokens of it, as far as the budget goes, for which there is room."""
        try:
            return self._parking.may_come_to(document, document.tokens_read + min(count, self._budget))
        except TooLargeError as error:
            self._fail(document, error)
            return False

    def _ask_for_pass(self, read: bool) -> Pack | None:
        """One pass of what there is to do, as far as the budget goes."""
        if (too_large := self._parking.resume()) is not None:
            self._fail(too_large, TooLargeError(TOO_LARGE))
        if read:
            self._admit_documents()
        reading = self._readable() if read else []
        self._admit_answers()
        # Some may have been parked for the others' answers.
        reading = [(document, count) for document, count in reading if document.parked is None]
        asking = [each for each in self._tries if len(each.pending)]
        decoding = [each for each in self._tries if each.may_go_on]
        if not decoding:
            self._turns.reset()
        if decoding and (not (reading or asking) or self._turns.decode_now(len(decoding))):
            pack = Pack("decode")
            for each in decoding:
                pack.add_answer(each)
        elif reading or asking:
            pack = self._packed(reading, asking)
        else:
            return None
        self._being_read += pack.reading
        pack.run(self._backend)
        self._under_way.append(pack)
        return pack

    def _packed(self, reading: list[tuple[ActiveDocument, int]], asking: list[AnswerTry]) -> Pack:
        wanted = [len(each.pending) for each in asking] + [count for _, count in reading]
        sizes = share_budget(wanted, self._budget, self._chunk, self._backend.limits.least_share)
        pack = Pack("prefill")
        for each, size in zip(asking, sizes, strict=False):
            if size:
                pack.add_prompt(each, size)
        for (document, _), size in zip(reading, sizes[len(asking) :], strict=True):
            if size:
                pack.add_document(document, size)
        return pack

    def _see(self, leave: int) -> None:
        """Wait for the passes under way but the last `leave`, and append their tokens to the answers; free the slots of
        those that end. A document whose prompt's check raises has failed, with all its answers."""
        while len(self._under_way) > leave:
            pack = self._under_way[0]
            tokens = pack.tokens()
            self._under_way.popleft()
            for each, token in zip(pack.answering, tokens, strict=True):
                # One that ended while the pass was under way has no slot any more.
                if each.handle is not None:
                    self._answer_tokens += pack.kind == "decode"
                    self._append(each, token)

    def _append(self, each: AnswerTry, token: int) -> None:
        each.output.append(token)
        try:
            answer = each.ended(self._end_ids)
        except Exception as error:  # of a check, which is not the engine's
            self._fail(each.document, error)
            return
        if answer is not None:
            self._end(each)
            each.document.keep(answer, each)
            self._note_end(each.document)

    def _note_end(self, document: ActiveDocument) -> None:
        if document.finished() is not None:
            self._ended.append(document)

    def _take_finished(self) -> tuple[Finished, ...]:
        """Documents with no prompt left, and no share in a pass under way: each is charged with all its passes before
        it leaves."""
        shared = {id for pack in self._under_way for id in pack.shares}
        leaving = [document for document in self._ended if document.request.id not in shared]
        for document in leaving:
            self._release(document)
        return tuple(finished for document in leaving if (finished := document.finished()) is not None)

    def _document(self, id: Hashable) -> ActiveDocument:
        return next(document for document in self._documents if document.request.id == id)

    def _read_state(self, document: ActiveDocument, since: int = 0) -> ReadState:
        """Without answers."""
        state = self._parking.export(document, since)
        return ReadState(state, document.tokens_read, tuple(document.ends), since=since)

    def _fail(self, document: ActiveDocument, error: Exception) -> None:
        self._record_failure(document.request, document.tokens_read, error)
        self._release(document)

    def _record_failure(self, request: Request, tokens_read: int, error: Exception) -> None:
        known = error if isinstance(error, LonghaulError) else unexpected(error)
        self._failed.append(Failed(request.id, tokens_read, known))

    def _end(self, each: AnswerTry) -> None:
        assert each.handle is not None, "it is in a slot"
        self._tries.remove(each)
        self._backend.close(each.handle)
        each.handle = None

    def _release(self, document: ActiveDocument) -> None:
        """With what is left of its answers."""
        for each in [each for each in self._tries if each.document is document]:
            self._end(each)
        document.request.feed.close()
        self._documents.remove(document)
        self._ended = [each for each in self._ended if each is not document]
        self._parking.close(document)

    def _take_failed(self) -> tuple[Failed, ...]:
        failed, self._failed = tuple(self._failed), []
        return failed
