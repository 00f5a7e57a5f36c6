"""The extracts of one document, made while its text passes: of the whole, and of each section."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from configs.settings import DEFAULT_EXTRACT_WORDS, EXTRACTS, PromptSettings, SectionSettings
from pipeline.schemas.tables import Row
from pipeline.sentences import weights
from pipeline.sentences.key_sentences import KeySentence, KeySentences, bullets

NUMBER_BYTES = 8
NO_SENTENCE = "The text has no sentence that could stand in an extract."


@dataclass(frozen=True)
class ExtractPrompts:
    """The prompts of a run that ask for extracts."""

    whole: tuple[PromptSettings, ...]
    of_sections: tuple[PromptSettings, ...] = ()
    has_passages: bool = False
    """Whether passages are wanted too, with which answers are compared."""

    @staticmethod
    def of(
        prompts: Sequence[PromptSettings], sections: SectionSettings | None, has_passages: bool = False
    ) -> "ExtractPrompts":
        """Those among all prompts."""
        asked = sections.prompts if sections else ()
        whole, of_sections = (tuple(each for each in some if each.is_extract) for some in (prompts, asked))
        return ExtractPrompts(whole, of_sections, has_passages)

    def __bool__(self) -> bool:
        return self.has_extracts or self.has_passages

    @property
    def has_extracts(self) -> bool:
        """Whether any are wanted, not passages alone."""
        return bool(self.whole or self.of_sections)

    @property
    def most_words(self) -> int:
        """Of the longest extract."""
        return max((prompt.words for prompt in (*self.whole, *self.of_sections)), default=DEFAULT_EXTRACT_WORDS)


class Extracts:
    """Of one document; feed it all of its text."""

    def __init__(self, prompts: ExtractPrompts, key_sentences: KeySentences | None = None) -> None:
        self._prompts = prompts
        self._sentences = key_sentences or KeySentences(prompts.most_words)
        self._num_bytes = 0

    def feed(self, text: str, section_starts: Sequence[int] = ()) -> None:
        """The next part of the text; a section begins at each of the given places in it, in characters."""
        place = 0
        for start in section_starts:
            self._feed(text[place:start])
            self._end_section()
            place = start
        self._feed(text[place:])

    def rows(self) -> list[Row]:
        """What `summaries` says of each extract: of sections, in their order, and of the whole. All text was fed."""
        self._end_section()
        self._sentences.finish()
        of_sections = [
            {"section_index": index} | _row(prompt, chosen)
            for index, section in enumerate(self._sentences.sections)
            for prompt, chosen in zip(self._prompts.of_sections, section, strict=True)
        ]
        return of_sections + [_row(prompt, self._sentences.select(prompt.words)) for prompt in self._prompts.whole]

    @property
    def passages(self) -> bytes | None:
        """The key sentences as they are stored, for `grounding`; None where nobody wants them."""
        return self._sentences.to_bytes() if self._prompts.has_passages else None

    def to_bytes(self) -> bytes:
        """All that is needed to go on from here."""
        return self._num_bytes.to_bytes(NUMBER_BYTES, "little") + self._sentences.to_bytes()

    @classmethod
    def from_bytes(cls, prompts: ExtractPrompts, data: bytes) -> Self:
        """The inverse. Raises ValueError for what another version wrote."""
        extracts = cls(prompts, KeySentences.from_bytes(data[NUMBER_BYTES:]))
        extracts._num_bytes = int.from_bytes(data[:NUMBER_BYTES], "little")
        return extracts

    def _feed(self, text: str) -> None:
        if text:
            self._sentences.feed(text)
            self._num_bytes += len(text.encode())

    def _end_section(self) -> None:
        if self._prompts.of_sections:
            self._sentences.end_section(self._num_bytes, [prompt.words for prompt in self._prompts.of_sections])


def _row(prompt: PromptSettings, chosen: Sequence[KeySentence]) -> Row:
    return {
        "prompt_id": prompt.name,
        "kind": prompt.kind,
        "model_id": EXTRACTS,
        "model_revision": weights.fingerprint(),
        "prompt_sha256": sha256(f"extract {prompt.words} {weights.fingerprint()}".encode()).hexdigest(),
        "summary": bullets(chosen),
        "sentences": [
            {
                "start": each.start_byte,
                "end": each.end_byte,
                "section": each.section or None,
                "score": each.score,
                "text": each.text,
            }
            for each in chosen
        ],
        "finish_reason": "stop" if chosen else "empty",
        "retries": 0,
        "answer_error": None if chosen else NO_SENTENCE,
    }
