"""What a model answers about documents: asked now, as a run asks it, or taken from the table of a finished run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from configs.errors import ConfigError
from configs.settings import PromptSettings, SummarizeConfig, answers_of
from models.backends import device as devices
from models.backends import loading
from models.engine.feed import ArrayFeed
from models.engine.request import Finished, Request
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.evaluation.references import Referenced
from pipeline.prompts.bound import BoundPrompt
from pipeline.prompts.checks import AnswerCheck
from pipeline.reports.warehouse import Warehouse

log = structlog.get_logger()

TOKENS_PER_WORD = 2
"""That an answer may have for each word that it may have: tokenizers take 1.3 to 2 for a word of English. What is over
the words is cut."""
QUERY = """
    SELECT document_id, prompt_id, summary FROM latest
    WHERE coalesce(kind, 'answer') = 'answer' AND section_index IS NULL
"""


@dataclass(frozen=True)
class Wanted:
    """A document, and the words that an answer about it may have."""

    document: Referenced
    max_words: int


class Answers(Protocol):
    """Where answers come from."""

    batch: int
    """Documents that are best asked about together."""

    def of(self, wanted: Sequence[Wanted]) -> list[str | None]:
        """In their order; None where there is no answer. They may have too many words."""


class ModelAnswers:
    """Of a model that is loaded here, by the path that a run takes in an actor: its engine, tokens, prompt and check of
    answers."""

    def __init__(self, config: SummarizeConfig, prompt: str | None = None) -> None:
        """Of the run's prompts, the first that a model answers, or the one of that name. Raises ConfigError where there
        is none, ModelError."""
        self._prompt = _chosen(answers_of(config.prompts), prompt)
        kind = devices.kind_of(config.model.device)
        directory = checkpoint.resolve(config.model.uri)
        self._tokenizer = Tokenizer.of_run(config.model)
        self._engine = loading.of_run(config, directory, self._tokenizer, kind, config.model.dtype_on(kind))
        self.batch = config.engine.slots_on(kind)

    def of(self, wanted: Sequence[Wanted]) -> list[str | None]:
        """An answer as the run's row would hold it, whether or not it passes the check."""
        for number, each in enumerate(wanted):
            asked = BoundPrompt.of(self._prompt_of(each.max_words), self._tokenizer)
            tokens = tokenize.tokens([each.document.text], self._tokenizer)
            self._engine.submit(Request(number, ArrayFeed(tokens), (asked.prompt(each.document.id),)))
        found: dict[object, str] = {}
        while self._engine.busy:
            done = self._engine.step()
            found |= {each.id: self._shown(each) for each in done.finished}
            for failed in done.failed:
                log.warning(
                    "document_failed", document_id=wanted[int(str(failed.id))].document.id, error=str(failed.error)
                )
        return [found.get(number) for number in range(len(wanted))]

    def _prompt_of(self, max_words: int) -> PromptSettings:
        # model_copy leaves the check to us: the limit is that of the settings.
        most = type(self._prompt)(max_tokens=min(TOKENS_PER_WORD * max_words, 65_536)).max_tokens
        return self._prompt.model_copy(update={"max_tokens": most})

    def _shown(self, finished: Finished) -> str:
        text = self._tokenizer.decode(finished.answers[0].tokens)
        return AnswerCheck(self._prompt, self._tokenizer.begins_thinking).judge(text).summary


class RunAnswers:
    """Those in the table `summaries` of an output, of documents by their ids there, or by those of JSON lines, which
    stand behind the file's name and a `#`."""

    batch = 1

    def __init__(self, output_uri: str, prompt: str | None = None) -> None:
        """`prompt` may be left out where the run has only one. Raises ConfigError for an output without answers, with
        several prompts, or with several documents of one id; StorageError."""
        rows = Warehouse(output_uri).rows(QUERY)
        names = sorted({row["prompt_id"] for row in rows})
        if not names or (prompt is not None and prompt not in names):
            wanted = f" to {prompt!r}" if prompt else ""
            raise ConfigError(f"{output_uri} holds no answers{wanted}{_listed(names)}.")
        if prompt is None and len(names) > 1:
            raise ConfigError(f"{output_uri} holds answers to several prompts: --prompt says which{_listed(names)}.")
        self._found: dict[str, tuple[str, str]] = {}
        for row in rows:
            if row["prompt_id"] == (prompt or names[0]):
                self._add(row["document_id"], row["summary"])

    def _add(self, document_id: str, summary: str) -> None:
        for name in {document_id, document_id.partition("#")[2] or document_id}:
            other = self._found.setdefault(name, (document_id, summary))[0]
            if other != document_id:
                raise ConfigError(f"Two documents of the run have the id {name}: {other} and {document_id}.")

    def of(self, wanted: Sequence[Wanted]) -> list[str | None]:
        """As the rows hold them."""
        return [self._found.get(each.document.id, ("", None))[1] for each in wanted]


def _chosen(prompts: Sequence[PromptSettings], name: str | None) -> PromptSettings:
    found = [each for each in prompts if name in (None, each.name)]
    if not found:
        raise ConfigError(
            f"The settings have no prompt {name or 'of kind answer'}{_listed([p.name for p in prompts])}."
        )
    return found[0]


def _listed(names: Sequence[str]) -> str:
    return f": there are {', '.join(names)}" if names else ""
