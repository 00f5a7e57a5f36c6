"""Reads many documents at once and answers prompts about them. Token ids only.

A slot holds the recurrent state of one document, whose size does not depend on its length. A reading pass packs a
budget of tokens from all documents in the slots, whatever their lengths, without padding. A document that has been read
keeps its slot: each of its prompts, and each second try of one, goes on from a copy of its state in a slot for answers.
So do prompts about a section, from the state at its end, before the document is read on.
Decoding passes advance all answers by a token; they wait until enough answers share the reading of the weights. A slot
that falls free is refilled before the next pass. A pass has ended on the device when its `step` returns, so that the
time between two steps is the pass's own.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np
import torch

from configs.errors import LonghaulError, unexpected
from models.engine.budget import share_budget
from models.engine.device import synchronize
from models.engine.request import WHOLE, Answer, Failed, Finished, Pass, ReadState, Request
from models.engine.sampling import choose_all, loop_start
from models.engine.slots import ActiveDocument, AnswerTry
from models.mamba.language_model import MambaLM
from models.state import State

WARM_UP_ROUNDS = 3
GAPS_BYTES = 48 * 2**20
"""What gaps between blocks on a CPU's heap may come to: 26 MB were measured over a million tokens."""
PATIENCE = 32
"""Reading passes that an answer waits for company: what a finished document may lose to a preemption meanwhile."""
BURST = 32
"""Decoding passes that answers without company get before documents are read on: one long answer stops no reading."""
RETRY_TEMPERATURE = 0.7


class Engine:
    """Slots of constant size, filled from a queue; each `step` is one pass through the model."""

    def __init__(
        self, model: MambaLM, end_id: int, num_slots: int, step_tokens: int, preamble: Sequence[int] = ()
    ) -> None:
        """Allocates all slots at once: one for each of `num_slots` documents in flight, and as many for answers.

        `step_tokens` is the budget of a reading pass, at least one chunk. `preamble` are tokens that stand before every
        document: they are read here, once, and each document begins at the state after them.
        """
        self._model, self._end_id = model, end_id
        self._chunk = model.chunk_size
        self._budget = max(step_tokens, self._chunk)
        self._device = model.lm_head.weight.device
        self._beginning = self._read_preamble(preamble)
        self._states = model.empty_state(2 * num_slots)
        self._free = deque(range(num_slots))
        self._free_for_answers = deque(range(num_slots, 2 * num_slots))
        self._decode_rows = max(1, num_slots // 2)
        self._waited = 0
        """Reading passes that answers have waited for company, then decoding passes that they have had without."""
        self._requests: deque[Request] = deque()
        self._documents: list[ActiveDocument] = []
        self._tries: list[AnswerTry] = []
        self._failed: list[Failed] = []
        self._being_read: list[ActiveDocument] = []
        """Those whose states the pass under way changes; after a pass that broke off, those whose states are lost."""

    @property
    def busy(self) -> bool:
        """Whether a document is in a slot or waiting for one."""
        return bool(self._documents or self._requests)

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
    def state_bytes(self) -> int:
        """Memory of all slots."""
        return self._states.nbytes

    def submit(self, request: Request) -> None:
        """Queue a document. It is admitted when a slot is free."""
        self._requests.append(request)

    @property
    def in_slots(self) -> dict[Hashable, int]:
        """The documents in the slots, each with the tokens read of it, those before its start included."""
        return {document.request.id: document.tokens_read for document in self._documents}

    @torch.inference_mode()
    def read_state(self, id: Hashable) -> ReadState | None:
        """A copy of where a document in a slot stands, to go on from elsewhere.

        None while a section is being asked about: its answers go on from a state that is already gone. Nor is there one
        of a document that was in a reading pass which raised.
        """
        document = self._document(id)
        if document in self._being_read:
            return None
        tries = [*document.tries, *(each for each in self._tries if each.document is document)]
        if any(each.section != WHOLE for each in tries):
            return None
        return ReadState(self._state(document), document.tokens_read, tuple(document.ends), dict(document.answers))

    def conclude(self, id: Hashable) -> None:
        """Ask about a document in a slot what has been read of it so far, and read no more of it.

        Does nothing where no token has been read: there is nothing to say about it.
        """
        document = self._document(id)
        if document.tokens_read and not document.is_read:
            document.is_read = document.so_far = True
            document.request.feed.close()
            document.ask(WHOLE)

    def withdraw(self, id: Hashable) -> None:
        """Forget a document, in a slot or waiting for one, and its answers."""
        for request in [each for each in self._requests if each.id == id]:
            self._requests.remove(request)
            request.feed.close()
        for document in [each for each in self._documents if each.request.id == id]:
            self._leave(document)

    @torch.inference_mode()
    def step(self, read: bool = True) -> Pass:
        """One pass: read what there is; decode when half of the answers' slots are, nothing else is at hand, or the
        answers there are have waited long enough, and then some tokens of them.

        Without `read` no document is admitted or read on; answers under way go on to their ends. What it raises is the
        device's: of a document that cannot be read or asked about the pass tells.
        """
        assert self.busy, "step() needs a submitted document"
        if read:
            self._admit_documents()
        reading = self._readable() if read else []
        self._admit_answers()
        asking = [each for each in self._tries if len(each.pending)]
        decoding = [each for each in self._tries if not len(each.pending)]
        if not decoding:
            self._waited = 0
        if decoding and (not (reading or asking) or self._decodes_now(len(decoding))):
            done = self._decode(decoding)
        elif reading or asking:
            done = self._prefill(reading, asking)
        else:
            return Pass("wait", {}, 0, (), self._take_failed())
        synchronize(self._device)
        self._being_read = []
        return done

    def _decodes_now(self, num_decoding: int) -> bool:
        """Whether answers go first, though there is something to read."""
        if num_decoding >= self._decode_rows:
            return True
        self._waited = self._waited % (PATIENCE + BURST) + 1
        return self._waited > PATIENCE

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
        if self._device.type == "cpu":
            # Held together, so that both are touched; and each small enough to come from the heap, where it stays.
            _ = [torch.ones(GAPS_BYTES // 8) for _ in range(2)]
        most = self._states.num_rows // 2
        for rows in sorted({1 << exponent for exponent in range(most.bit_length())} | {most}):
            self._model.decode_(tokens.new_zeros(rows), self._states, range(rows))
        synchronize(self._device)

    @torch.inference_mode()
    def _read_preamble(self, tokens: Sequence[int]) -> State:
        beginning = self._model.empty_state(1)
        for start in range(0, len(tokens), self._budget):
            part = torch.tensor(tokens[start : start + self._budget], device=self._device)
            nothing = torch.zeros(0, dtype=torch.long, device=self._device)
            self._model.prefill_(part, [0, len(part)], beginning, [0], nothing)
        return beginning

    def _admit_documents(self) -> None:
        while self._free and self._requests:
            document = ActiveDocument.of(self._requests.popleft(), self._free.popleft())
            start = document.request.start
            state = self._beginning if start is None else start.state.map(lambda tensor: tensor.to(self._device))
            self._states.scatter_([document.slot], state)
            self._documents.append(document)

    def _admit_answers(self) -> None:
        for document in self._documents:
            while document.tries and self._free_for_answers:
                answering = document.tries.popleft()
                answering.slot = self._free_for_answers.popleft()
                self._states.scatter_([answering.slot], self._states.gather([document.slot]))
                self._tries.append(answering)

    def _readable(self) -> list[tuple[ActiveDocument, int]]:
        """Documents with tokens that may be read now, in whole chunks or up to the end, and how many.

        Notices on the way which documents are at their end, and which broke off.
        """
        readable = []
        # A document whose answers still wait for slots must keep the state that they will copy.
        for document in [each for each in self._documents if not each.is_read and not each.tries]:
            feed = document.request.feed
            try:
                # In this order: what comes in between is not the end.
                ended, count, stops = feed.ended, feed.ready, self._stops(document)
            except Exception as error:  # whatever it is, it is this document's
                self._fail(document, error)
                continue
            if 0 in stops and document.kept is None:
                document.kept = ReadState(self._state(document), document.tokens_read, tuple(document.ends))
            if any(stops):
                readable.append((document, min(filter(None, stops))))
            elif ended and not count:
                self._read_to_the_end(document)
            elif count := count if ended else count - count % self._chunk:
                readable.append((document, count))
        return readable

    def _stops(self, document: ActiveDocument) -> list[int]:
        """Tokens up to where a document must be stopped at: a section's end, and the last cut, where its state is kept;
        0 where it stands at that cut."""
        request = document.request
        section_end = request.feed.section_end if request.section_prompts else None
        last_cut = request.feed.last_cut if request.keep_state else None
        return [stop for stop in (section_end, last_cut) if stop is not None]

    def _prefill(self, reading: list[tuple[ActiveDocument, int]], asking: list[AnswerTry]) -> Pass:
        wanted = [len(each.pending) for each in asking] + [count for _, count in reading]
        sizes = share_budget(wanted, self._budget, self._chunk)
        slots: list[int] = []
        pieces: list[np.ndarray] = []
        shares: dict[Hashable, int] = {}
        ends: list[tuple[int, AnswerTry]] = []
        for each, size in zip(asking, sizes, strict=False):
            if size:
                pieces.append(each.pending[:size])
                each.pending = each.pending[size:]
                slots.append(each.slot)
                _add(shares, each.document, size)
                if not len(each.pending):
                    ends.append((len(slots) - 1, each))
        read: list[tuple[ActiveDocument, int, bool]] = []
        for (document, _), size in zip(reading, sizes[len(asking) :], strict=True):
            if size:
                at_end = bool(document.request.section_prompts) and document.request.feed.section_end == size
                pieces.append(document.request.feed.take(size))
                slots.append(document.slot)
                _add(shares, document, size)
                read.append((document, size, at_end))
        self._being_read = [document for document, _, _ in read]
        bounds = [0, *accumulate(map(len, pieces))]
        logits = self._model.prefill_(
            torch.from_numpy(np.concatenate(pieces).astype(np.int64)).to(self._device),
            bounds,
            self._states,
            slots,
            logits_at=torch.tensor([bounds[row + 1] - 1 for row, _ in ends], dtype=torch.long, device=self._device),
        )
        for document, size, at_end in read:
            document.tokens_read += size
            if at_end:
                document.end_section()
        finished = self._choose(logits, [each for _, each in ends])
        return Pass("prefill", shares, sum(size for _, size, _ in read), finished, self._take_failed())

    def _decode(self, decoding: list[AnswerTry]) -> Pass:
        last = torch.tensor([each.output[-1] for each in decoding], device=self._device)
        logits = self._model.decode_(last, self._states, [each.slot for each in decoding])
        shares: dict[Hashable, int] = {}
        for each in decoding:
            _add(shares, each.document, 1)
        return Pass("decode", shares, 0, self._choose(logits, decoding), self._take_failed())

    def _read_to_the_end(self, document: ActiveDocument) -> None:
        document.is_read = True
        document.request.feed.close()
        # The last section ends here, where the feed could not know it before.
        if document.request.section_prompts and document.ends[-1:] != [document.tokens_read]:
            document.end_section()
        document.ask(WHOLE)

    def _choose(self, logits: torch.Tensor, tries: Sequence[AnswerTry]) -> tuple[Finished, ...]:
        """Append a token to each answer; free the slots of those that end. Returns documents with no prompt left.

        A document whose prompt's check raises has failed, with all its answers."""
        if not tries:
            return ()
        # Rows of the embedding beyond the vocabulary are padding and never a token.
        chosen = choose_all(logits[:, : self._model.config.vocab_size].float(), [each.sampler for each in tries])
        finished = []
        for each, token in zip(tries, chosen, strict=True):
            if each not in self._tries:
                continue
            each.output.append(token)
            try:
                answer = self._ended(each)
            except Exception as error:  # of a check, which is not the engine's
                self._fail(each.document, error)
                continue
            if answer is not None:
                self._end(each)
                if (document := self._answered(each, answer)) is not None:
                    finished.append(document)
        return tuple(finished)

    def _ended(self, each: AnswerTry) -> Answer | None:
        """The answer, if this token was its last."""
        output, count = each.output, len(each.output)
        if output[-1] == self._end_id:
            answer = Answer(tuple(output[:-1]), "stop", count)
        elif (cut := loop_start(output)) is not None:
            return Answer(tuple(output[:cut]), "loop", count)
        elif count >= each.sampling.max_tokens:
            answer = Answer(tuple(output), "length", count)
        else:
            return None
        check = each.document.prompts(each.section)[each.prompt].check
        reason = check(answer.tokens) if check is not None else None
        return answer if reason is None else replace(answer, finish_reason=reason)

    def _answered(self, each: AnswerTry, answer: Answer) -> Finished | None:
        """Keep an answer, or ask once more from the same state. Returns the document if this was its last answer."""
        document, accepted = each.document, answer.finish_reason in ("stop", "length")
        if not accepted and each.first is None:
            again = replace(
                each.sampling,
                temperature=max(each.sampling.temperature, RETRY_TEMPERATURE),
                seed=each.sampling.seed ^ 1,
            )
            document.tries.append(AnswerTry.of(document, each.section, each.prompt, again, first=answer))
            return None
        if each.first is not None:
            # Of two that will not do, the first is the likelier text.
            decoded = each.first.tokens_decoded + answer.tokens_decoded
            answer = replace(answer if accepted else each.first, tokens_decoded=decoded, retries=1)
        document.answers[each.section, each.prompt] = answer
        finished = document.finished()
        if finished is not None:
            self._leave(document)
        return finished

    def _document(self, id: Hashable) -> ActiveDocument:
        return next(document for document in self._documents if document.request.id == id)

    def _state(self, document: ActiveDocument) -> State:
        return self._states.gather([document.slot]).map(lambda tensor: tensor.to("cpu"))

    def _fail(self, document: ActiveDocument, error: Exception) -> None:
        known = error if isinstance(error, LonghaulError) else unexpected(error)
        self._failed.append(Failed(document.request.id, document.tokens_read, known))
        self._leave(document)

    def _end(self, each: AnswerTry) -> None:
        self._tries.remove(each)
        self._free_for_answers.append(each.slot)

    def _leave(self, document: ActiveDocument) -> None:
        """With what is left of its answers."""
        for each in [each for each in self._tries if each.document is document]:
            self._end(each)
        document.request.feed.close()
        self._documents.remove(document)
        self._free.append(document.slot)

    def _take_failed(self) -> tuple[Failed, ...]:
        failed, self._failed = tuple(self._failed), []
        return failed


def _add(shares: dict[Hashable, int], document: ActiveDocument, size: int) -> None:
    shares[document.request.id] = shares.get(document.request.id, 0) + size
