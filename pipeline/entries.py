"""Turns what became of a document into its ledger entry: rows for summaries or failures, and for costs."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256

from configs.settings import PromptSettings
from models.engine import Answer, Finished
from models.tokenizer import Tokenizer
from pipeline import prompts
from pipeline.actor import Actor
from pipeline.assignment import Assignment, Row
from pipeline.checks import AnswerCheck
from pipeline.ledger import Entry
from pipeline.metering import split


@dataclass(frozen=True)
class Entries:
    """Writes entries for one actor."""

    assignment: Assignment
    actor: Actor
    tokenizer: Tokenizer

    @cached_property
    def _checks(self) -> dict[str, AnswerCheck]:
        """By the prompt's name. A schema is made ready once, not for every answer."""
        asked = [*self.assignment.prompts, *(self.assignment.sections.prompts if self.assignment.sections else ())]
        return {prompt.name: AnswerCheck(prompt) for prompt in asked}

    def summarised(self, row: Row, started_at: datetime, finished: Finished) -> Entry:
        """A row per prompt, and per section and its prompt; the document's time, which its meter now closes, is shared
        among them equally."""
        microseconds = self.actor.meter.settle(row["document_id"])
        common = self._common(row, started_at) | {"status": "ok"}
        read = {
            "title": row["title"],
            "tokens_total": finished.tokens_read,
            "tokens_read": finished.tokens_read,
            "truncated": False,
            "model_id": self.assignment.model_uri,
            "model_revision": self.assignment.model_revision,
        }
        answered = list(self._answered(row, finished))
        parts = split(microseconds, dict.fromkeys(range(len(answered)), 1))
        summaries = [
            common | read | section | self._answer(answer, prompt) | self._spent(parts[place])
            for place, (answer, prompt, section) in enumerate(answered)
        ]
        decoded = sum(answer.tokens_decoded for answer, _, _ in answered)
        return self._entry(row, common, microseconds, finished.tokens_read, decoded, summaries=summaries)

    def _answered(self, row: Row, finished: Finished) -> Iterator[tuple[Answer, PromptSettings, Row]]:
        """Every answer with its prompt and, of a section, where it lies."""
        for answer, prompt in zip(finished.answers, self.assignment.prompts, strict=True):
            yield answer, prompt, {}
        if self.assignment.sections is None:
            return
        for index, (section, found) in enumerate(zip(finished.sections, row["sections"], strict=True)):
            place = {
                "section_index": index,
                "section_title": found["title"],
                "section_start": found["start"],
                "section_end": section.end,
            }
            for answer, prompt in zip(section.answers, self.assignment.sections.prompts, strict=True):
                yield answer, prompt, place

    def failed(self, row: Row, started_at: datetime, tokens_read: int) -> Entry:
        """A failure row with the row's reason: a reader's, which cost the actor nothing, or that of a document which
        broke off while the actor read it, whose time its meter now closes."""
        microseconds = self.actor.meter.settle(row["document_id"])
        common = self._common(row, started_at) | {"status": "failed"}
        reason = {"tokens_read": tokens_read, "error_class": row["error_class"], "error_message": row["error_message"]}
        failure = common | reason | self._spent(microseconds)
        return self._entry(row, common, microseconds, tokens_read, 0, failures=[failure])

    def _common(self, row: Row, started_at: datetime) -> Row:
        return {
            "run_id": self.assignment.run_id,
            "document_id": row["document_id"],
            "source_uri": row["source_uri"],
            "source_etag": row["source_etag"],
            "size_bytes": row["size_bytes"],
            "settings_sha256": self.assignment.settings_sha256,
            "attempts": row["attempt"],
            "started_at": started_at,
            "finished_at": datetime.now(UTC),
            "gpu_type": self.actor.rate.gpu_type,
            "currency": self.actor.rate.currency,
        }

    def _answer(self, answer: Answer, prompt: PromptSettings) -> Row:
        verdict = self._checks[prompt.name].judge(self.tokenizer.decode(answer.tokens))
        return {
            "prompt_id": prompt.name,
            "prompt_sha256": sha256(prompts.question(prompt.instruction, prompt.json_schema).encode()).hexdigest(),
            "summary": verdict.summary,
            "summary_tokens": len(answer.tokens),
            "finish_reason": answer.finish_reason,
            "retries": answer.retries,
            "answer_error": verdict.error,
        }

    def _spent(self, microseconds: int) -> Row:
        rate = self.actor.rate
        return {"gpu_seconds": rate.seconds(microseconds), "cost": rate.cost(microseconds)}

    def _entry(
        self,
        row: Row,
        common: Row,
        microseconds: int,
        tokens_read: int,
        tokens_decoded: int,
        summaries: list[Row] | None = None,
        failures: list[Row] | None = None,
    ) -> Entry:
        cost = (
            common
            | self._spent(microseconds)
            | {
                "kind": "document",
                "attempt": row["attempt"],
                "actor_id": self.actor.id,
                "node": self.actor.node,
                "tokens_read": tokens_read,
                "tokens_decoded": tokens_decoded,
                "price_per_second": self.actor.rate.price_per_second,
            }
        )
        return {
            "document_id": row["document_id"],
            "source_etag": row["source_etag"],
            "settings_sha256": self.assignment.settings_sha256,
            "published_at": common["finished_at"],
            "summaries": summaries or [],
            "failures": failures or [],
            "costs": [cost],
            "reading": asdict(self.actor.reading()),
        }
