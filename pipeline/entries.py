"""Turns what became of a document into its ledger entry: rows for summaries or failures, and for costs."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256

from configs.settings import PromptSettings
from models.engine import Answer, Finished
from models.tokenizer import Tokenizer
from pipeline.actor import Actor
from pipeline.assignment import Assignment, Row
from pipeline.ledger import Entry
from pipeline.metering import split


@dataclass(frozen=True)
class Entries:
    """Writes entries for one actor."""

    assignment: Assignment
    actor: Actor
    tokenizer: Tokenizer

    def summarised(self, row: Row, started_at: datetime, finished: Finished) -> Entry:
        """A summary row per prompt; the document's time, which its meter now closes, is shared among them equally."""
        microseconds = self.actor.meter.settle(row["document_id"])
        common = self._common(row, started_at) | {"status": "ok"}
        read = {
            "title": row["title"],
            "tokens_total": len(row["tokens"]),
            "tokens_read": finished.tokens_read,
            "truncated": finished.tokens_read < len(row["tokens"]),
            "model_id": self.assignment.model_uri,
            "model_revision": self.assignment.model_revision,
        }
        parts = split(microseconds, dict.fromkeys(range(len(finished.answers)), 1))
        summaries = [
            common | read | self._answer(answer, prompt) | self._spent(parts[index])
            for index, (answer, prompt) in enumerate(zip(finished.answers, self.assignment.prompts, strict=True))
        ]
        decoded = sum(answer.tokens_decoded for answer in finished.answers)
        return self._entry(row, common, microseconds, finished.tokens_read, decoded, summaries=summaries)

    def failed(self, row: Row, started_at: datetime) -> Entry:
        """A failure row with the reader's reason. It cost the actor nothing."""
        common = self._common(row, started_at) | {"status": "failed"}
        reason = {"tokens_read": 0, "error_class": row["error_class"], "error_message": row["error_message"]}
        return self._entry(row, common, 0, 0, 0, failures=[common | reason | self._spent(0)])

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
        return {
            "prompt_id": prompt.name,
            "prompt_sha256": sha256(prompt.instruction.encode()).hexdigest(),
            "summary": self.tokenizer.decode(answer.tokens).strip(),
            "summary_tokens": len(answer.tokens),
            "finish_reason": answer.finish_reason,
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
