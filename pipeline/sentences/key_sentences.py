"""Key sentences of a document that comes in pieces: one pass, bounded memory, any number of summaries at its end."""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import zstandard
from safetensors.numpy import load, save

from pipeline.sentences import scoring, speech, weights
from pipeline.sentences.candidates import Candidates
from pipeline.sentences.facts import Facts
from pipeline.sentences.scoring import Document, Knowledge
from pipeline.sentences.selection import Selection, Taste, is_prose
from pipeline.sentences.splitter import Sentence, Splitter
from pipeline.sentences.surface import STATISTICS, Reader, Surface
from pipeline.sentences.vocabulary import WordTable
from pipeline.sentences.weights import Weights
from pipeline.sentences.words import stems

Array = npt.NDArray[Any]

VERSION = 2
BATCH = 512
"""Sentences that are read at a time."""
BATCH_CHARACTERS = 131_072
CANDIDATES = 2_000
CANDIDATES_PER_SENTENCE = 16
WORDS_PER_SENTENCE = 15
SAMPLE = 1_000
"""Sentences by which those of the document are compared."""
SECTION_CANDIDATES = 500
"""At least so many of the open section stay until it ends."""
SPARE = 5
"""Lines that are no sentences count while a document has fewer sentences than these."""
SHORTEST, LONGEST = 5, 80
LONGEST_TEXT = 1_500


def judge(knowledge: Knowledge, learned: Weights, taste: Taste) -> tuple[Array, Selection]:
    """The score of each candidate, and what to choose from."""
    promise = scoring.promises(knowledge, learned)
    score = scoring.scores(scoring.standardized(knowledge, promise), knowledge, learned)
    return score, Selection(knowledge.candidates, score, promise, knowledge.table.idf, taste)


@dataclass(frozen=True)
class KeySentence:
    """A sentence of a summary, and where it stands in the extracted text."""

    start_byte: int
    """In its UTF-8."""
    end_byte: int
    section: str
    """The heading above it; empty before the first one."""
    score: float
    """In standard deviations of the document's sentences."""
    text: str
    """Verbatim, on one line."""
    speaker: str = ""
    start: int = 0
    """In characters."""
    end: int = 0

    @property
    def shown(self) -> str:
        """With who says it, and without hesitations and stammers."""
        text = speech.shown(self.text, bool(self.speaker))
        return f"{self.speaker}: {text}" if self.speaker else text


def bullets(sentences: Sequence[KeySentence]) -> str:
    """A summary of sentences in the order of the document."""
    return "\n".join(f"- {sentence.shown}" for sentence in sentences)


class KeySentences:
    """Of one document."""

    def __init__(
        self, max_words: int = 120, title: str | None = None, learned: Weights | None = None, taste: Taste | None = None
    ) -> None:
        """`max_words` is the length of the longest summary that will be asked for. `title` may be set later, as long as
        no summary has been asked for."""
        self.max_words, self.title = max_words, title
        self.taste = taste or Taste()
        self._learned = learned or weights.shipped()
        self._room = max(CANDIDATES, CANDIDATES_PER_SENTENCE * -(-max_words // WORDS_PER_SENTENCE))
        self._splitter = Splitter()
        self._table = WordTable(self._learned.known)
        self._reader = Reader(self._table)
        self._candidates = Candidates()
        self._totals = np.zeros(len(STATISTICS), np.int64)
        self._waiting: list[Sentence] = []
        self._num_usable = self._num_sections = self._in_batch = self._batch_characters = 0
        self._section_at = 0
        self._ends: list[tuple[int, list[int]]] = []
        """Of sections whose last sentence may not be whole, with the words that summaries of them may have."""
        self.sections: list[list[list[KeySentence]]] = []
        """Summaries of each section that has ended, in the order of the budgets."""
        self._is_finished = False
        self._made: tuple[Array, Selection] | None = None

    @property
    def num_sentences(self) -> int:
        """That were read, headings and lines of code and tables among them."""
        return self._reader.index

    def feed(self, piece: str) -> None:
        """The next part of the text. A sentence that the piece does not complete waits for the next."""
        self._take(self._splitter.feed(piece))

    def finish(self) -> Self:
        """The text is over."""
        if not self._is_finished:
            self._take(self._splitter.finish())
            self._read()
            while self._ends:
                self._choose_of_section()
            self._is_finished = True
        return self

    def select(
        self, max_words: int | None = None, start_byte: int = 0, end_byte: int | None = None
    ) -> list[KeySentence]:
        """The summary of at most so many words of what has been read, or of what begins between two places.

        No sentence is cut: where none fits, the shortest one is returned.
        """
        self._read()
        if not len(self._candidates):
            return []
        selection = self._selection()[1]
        starts = self._candidates["start_byte"]
        among = (starts >= start_byte) & (starts < (np.iinfo(np.int64).max if end_byte is None else end_byte))
        return [self._sentence(row) for row in selection.choose(max_words or self.max_words, among)]

    def end_section(self, end_byte: int, budgets: Sequence[int]) -> None:
        """A section ends there, where the text fed so far ends; summaries of it of so many words each are appended to
        `sections` once its last sentence is whole."""
        self._ends.append((end_byte, list(budgets)))

    @property
    def summary(self) -> str:
        """Bullets of at most `max_words` words."""
        return bullets(self.select())

    @property
    def facts(self) -> Facts:
        """The words and numbers that the document holds."""
        self._read()
        return self._table.facts

    def to_bytes(self) -> bytes:
        """All that is needed to go on from here, whatever has been read."""
        self._read()
        words, word_arrays = self._table.state()
        texts, candidate_arrays = self._candidates.state()
        state = {
            "version": VERSION,
            "words": words,
            "texts": texts,
            "splitter": self._splitter.state(),
            "reader": self._reader.state(),
            "own": {name: getattr(self, name) for name in OWN},
            "sections": [[[astuple(each) for each in chosen] for chosen in section] for section in self.sections],
        }
        own = {"totals": self._totals, "state": np.frombuffer(json.dumps(state).encode(), np.uint8)}
        arrays = word_arrays | candidate_arrays | own
        return zstandard.compress(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}), 1)

    @classmethod
    def from_bytes(cls, data: bytes, learned: Weights | None = None, taste: Taste | None = None) -> "KeySentences":
        """Raises ValueError for a state of another version."""
        arrays = load(zstandard.decompress(data))
        state = json.loads(arrays.pop("state").tobytes())
        if state["version"] != VERSION:
            raise ValueError(f"The state is of version {state['version']}, and this code reads {VERSION}.")
        own = state["own"]
        resumed = cls(own["max_words"], own["title"], learned, taste)
        vars(resumed).update(own)
        resumed.sections = [
            [[KeySentence(*each) for each in chosen] for chosen in section] for section in state["sections"]
        ]
        resumed._totals = arrays["totals"]
        resumed._splitter = Splitter.resumed(state["splitter"])
        resumed._table = WordTable.resumed(resumed._learned.known, state["words"], arrays)
        resumed._reader = Reader.resumed(resumed._table, state["reader"])
        resumed._candidates = Candidates.resumed(state["texts"], arrays)
        return resumed

    def _take(self, sentences: list[Sentence]) -> None:
        for sentence in sentences:
            # Here, so that what is chosen depends on the text up to the section's end alone, however it comes.
            while self._ends and sentence.start_byte >= self._ends[0][0]:
                self._choose_of_section()
            self._waiting.append(sentence)
            self._in_batch += 1
            self._batch_characters += len(sentence.text)
            if self._in_batch == BATCH or self._batch_characters >= BATCH_CHARACTERS:
                self._read()
                self._in_batch = self._batch_characters = 0
                self._tidy()

    def _choose_of_section(self) -> None:
        self._read()
        _, budgets = self._ends.pop(0)
        inside = self._candidates["index"] >= self._section_at
        self._section_at = self._reader.index
        chosen = [self._selection()[1].choose(words, inside) if inside.any() else [] for words in budgets]
        self.sections.append([[self._sentence(row) for row in rows] for rows in chosen])

    def _read(self) -> None:
        """Read the sentences that wait. It makes no difference when."""
        if not self._waiting:
            return
        sentences, self._waiting = self._waiting, []
        index = self._reader.index
        surface = self._reader.read(sentences)
        self._totals += surface.statistics
        self._num_sections = sentences[-1].section
        self._candidates.add(sentences, index, surface, *self._chosen(sentences, surface))
        self._made = None

    def _chosen(self, sentences: Sequence[Sentence], surface: Surface) -> tuple[Array, Array]:
        """Which sentences of a batch are candidates, and which of them only for want of better ones."""
        kinds = np.array([sentence.kind for sentence in sentences])
        fits = (surface.words <= LONGEST) & np.array([len(sentence.text) <= LONGEST_TEXT for sentence in sentences])
        usable = is_prose(kinds) & fits & (surface.words >= SHORTEST) & ~surface.is_apparatus
        before = self._num_usable + np.cumsum(usable) - usable
        is_spare = ~usable & fits & (before < SPARE)
        # A document of numbers alone has no end of such lines.
        is_spare &= np.arange(self._reader.index - len(sentences), self._reader.index) < SAMPLE
        self._num_usable += int(usable.sum())
        return usable | is_spare, is_spare

    def _tidy(self) -> None:
        """Keep what memory has room for. Only at places in the text that do not depend on the pieces."""
        if len(self._candidates) >= 3 * self._room + SAMPLE:
            self._drop()
        if (moved := self._table.forget()) is not None:
            self._candidates.move(moved)
            self._reader.move(moved)

    def _drop(self) -> None:
        """Let all go but the best by what is known now, the best of the open section, and the sample."""
        worth = self._selection()[1].static
        order = np.argsort(-worth, kind="stable")
        kept = self._sampled()
        kept[order[: self._room]] = True
        inside = self._candidates["index"][order] >= self._section_at
        kept[order[inside][:SECTION_CANDIDATES]] = True
        self._candidates.keep(kept)
        self._made = None

    def _sampled(self) -> Array:
        """Which candidates are of the sample: those of the lowest hash."""
        hashes = self._candidates["index"].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
        hashes *= np.uint64(0xBF58476D1CE4E5B9)
        hashes = np.where(self._candidates["is_spare"] == 1, np.uint64(2**64 - 1), hashes)
        sampled = np.zeros(len(hashes), bool)
        sampled[np.argsort(hashes, kind="stable")[:SAMPLE]] = True
        return sampled

    @property
    def knowledge(self) -> Knowledge:
        """All that is known of the document now."""
        self._read()
        title = {slot for stem in stems(self.title or "") if (slot := self._table.find(stem)) is not None}
        document = Document(self._reader.index, self._num_sections, self._totals, frozenset(title))
        return Knowledge(self._candidates, self._table, document, self._sampled())

    def _selection(self) -> tuple[Array, Selection]:
        if self._made is None:
            self._made = judge(self.knowledge, self._learned, self.taste)
        return self._made

    def _sentence(self, row: int) -> KeySentence:
        candidates = self._candidates
        start, end, start_byte, end_byte = (
            int(candidates[name][row]) for name in ("start", "end", "start_byte", "end_byte")
        )
        text, section, speaker = (candidates.texts[name][row] for name in ("text", "heading", "speaker"))
        score = float(self._selection()[0][row])
        return KeySentence(start_byte, end_byte, section, round(score, 4), text, speaker, start, end)


OWN = (
    "max_words",
    "title",
    "_num_usable",
    "_num_sections",
    "_in_batch",
    "_batch_characters",
    "_section_at",
    "_ends",
    "_is_finished",
)
