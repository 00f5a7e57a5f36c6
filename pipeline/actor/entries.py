"""Turns what became of a document into its ledger entry: rows for summaries or failures, and the time that it took.

Summaries and failures leave their cost open: a commit shares out what all attempts at the document come to.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256

from configs.errors import DocumentError
from configs.settings import PromptSettings, answers_of, every_prompt
from models.engine.request import Answer, AnsweredSection, Finished
from models.weights.tokenizer import Tokenizer
from pipeline.actor.assignment import Assignment
from pipeline.actor.gauge import ActorGauge
from pipeline.actor.job import Job
from pipeline.billing.metering import Spent
from pipeline.documents.handover import reason
from pipeline.ledger.records import Entry, Outcome
from pipeline.prompts import template
from pipeline.prompts.checks import AnswerCheck
from pipeline.prompts.joining import Part, joined
from pipeline.schemas.tables import FAILURES, Row


@dataclass(frozen=True)
class Entries:
    """Writes entries for one actor."""

    assignment: Assignment
    actor: ActorGauge
    tokenizer: Tokenizer

    @cached_property
    def _checks(self) -> dict[str, AnswerCheck]:
        """Checks by prompt name, so that each JSON schema is compiled once and not for every answer."""
        asked = every_prompt(self.assignment.config.prompts, self.assignment.config.sections)
        return {
            prompt.name: AnswerCheck(prompt, self.tokenizer.begins_thinking)
            for prompt in asked
            if not prompt.is_extract
        }

    def finished(self, job: Job, finished: Finished) -> Entry:
        """A row per prompt, and per section and its prompt; the attempt's time, which its meter now closes.

        Everything that can raise comes before the meter is closed."""
        summaries = self._summaries(job, finished, "ok")
        spent = self.actor.meter.settle(job.document_id).all_saved
        return self._entry(job, "finished", spent, finished, summaries=summaries)

    def stopped(self, job: Job, tokens_read: int, so_far: Finished | None = None) -> Entry:
        """An attempt that another actor or a later start will resume: time that no snapshot holds is wasted, unless it
        gave summaries of what was read so far."""
        summaries = self._summaries(job, so_far, "partial") if so_far else []
        spent = self.actor.meter.settle(job.document_id)
        if so_far is not None:
            spent = spent.all_saved
        read = so_far or Finished(job.document_id, tokens_read, ())
        return self._entry(job, "stopped", spent, read, summaries=summaries)

    def failed(self, job: Job, tokens_read: int) -> Entry:
        """A failure row with the row's reason: a reader's, which cost the actor nothing, or that of a document which
        broke off while the actor read it, whose time its meter now closes."""
        spent, row = self.actor.meter.settle(job.document_id).all_saved, job.row
        why = {"tokens_read": tokens_read, "error_class": row["error_class"], "error_message": row["error_message"]}
        failure = self._common(job) | {"status": "failed"} | why
        return self._entry(job, "failed", spent, Finished(job.document_id, tokens_read, ()), failures=[failure])

    def _summaries(self, job: Job, finished: Finished, status: str) -> list[Row]:
        read = {
            "status": status,
            "title": job.title,
            "tokens_total": None if finished.so_far else finished.tokens_read,
            "tokens_read": finished.tokens_read,
            "tokens_resumed": job.tokens_resumed,
            "truncated": finished.so_far,
            "model_id": self.assignment.config.model.uri,
            "model_revision": self.assignment.model_revision,
        }
        common = self._common(job) | read
        of_answers = common | {"windows": max(1, len(finished.windows))}
        answered = self._answered(job, finished)
        answers = [of_answers | section | self._answer(answer, prompt) for answer, prompt, section in answered]
        if finished.windows and not finished.answers:
            answers += [of_answers | row for row in self._joined(finished.windows)]
        return answers + [common | extract for extract in self._extracts(job, finished)]

    def _answered(self, job: Job, finished: Finished) -> Iterator[tuple[Answer, PromptSettings, Row]]:
        """Every answer with its prompt and, of a section, where it lies."""
        config = self.assignment.config
        for answer, prompt in zip(finished.answers, answers_of(config.prompts), strict=not finished.windows):
            yield answer, prompt, {}
        of_sections = answers_of(config.sections.prompts) if config.sections else ()
        if not of_sections:
            return
        for index, (section, found) in enumerate(zip(finished.sections, job.sections or (), strict=False)):
            place = {
                "section_index": index,
                "section_title": found["title"],
                "section_start": found["start"],
                "section_end": section.end,
            }
            for answer, prompt in zip(section.answers, of_sections, strict=True):
                yield answer, prompt, place

    def _extracts(self, job: Job, finished: Finished) -> Iterator[Row]:
        """Those that the engine made, or else a reader of the whole document."""
        by_reader = json.loads(job.row.get("extracts") or "[]") if not finished.so_far else []
        sections = job.sections or ()
        for extract in finished.extracts or by_reader:
            index = extract.get("section_index")
            if index is None or index >= len(sections):
                yield dict(extract)
                continue
            ends = [section["start"] for section in sections[index + 1 : index + 2]]
            yield {
                **extract,
                "section_title": sections[index]["title"],
                "section_start": sections[index]["start"],
                "section_end": ends[0] if ends else finished.tokens_read,
            }

    def _common(self, job: Job) -> Row:
        row = job.row
        return {
            "run_id": self.assignment.run_id,
            "document_id": row["document_id"],
            "source_uri": row["source_uri"],
            "source_etag": row["source_etag"],
            "size_bytes": row["size_bytes"],
            **job.reading,
            "settings_sha256": self.assignment.settings_sha256,
            "attempts": job.attempt,
            "started_at": job.started_at,
            "finished_at": datetime.now(UTC),
            "device_type": self.actor.rate.device_type,
            "currency": self.actor.rate.currency,
        }

    def _answer(self, answer: Answer, prompt: PromptSettings) -> Row:
        verdict = self._checks[prompt.name].judge(self.tokenizer.decode(answer.tokens))
        return {
            "prompt_id": prompt.name,
            "kind": prompt.kind,
            "prompt_sha256": sha256(template.question(prompt.instruction, prompt.json_schema).encode()).hexdigest(),
            "summary": verdict.summary,
            "summary_tokens": len(answer.tokens),
            "finish_reason": answer.finish_reason,
            "retries": answer.retries,
            "answer_error": verdict.error,
        }

    def _joined(self, windows: Sequence[AnsweredSection]) -> Iterator[Row]:
        """Of each prompt the answers about all windows, each under its range; as good as the worst of them."""
        starts = [0, *(window.end for window in windows)]
        for index, prompt in enumerate(answers_of(self.assignment.config.prompts)):
            answers = [window.answers[index] for window in windows]
            rows = [self._answer(answer, prompt) for answer in answers]
            parts = [Part(*place) for place in zip(starts, starts[1:], [row["summary"] for row in rows], strict=False)]
            errors = [
                Part(part.start, part.end, row["answer_error"])
                for part, row in zip(parts, rows, strict=True)
                if row["answer_error"] is not None
            ]
            yield rows[0] | {
                "summary": joined(parts),
                "summary_tokens": sum(row["summary_tokens"] for row in rows),
                "finish_reason": max((row["finish_reason"] for row in rows), key=_badness),
                "retries": sum(row["retries"] for row in rows),
                "answer_error": joined(errors) or None,
            }

    def _decoded(self, job: Job, read: Finished) -> int:
        """Tokens of answers that this attempt decoded."""
        parts = (*read.sections, *read.windows)
        answers = [*read.answers, *(answer for part in parts for answer in part.answers)]
        earlier = job.start.read_state.answers.values() if job.start else ()
        return sum(answer.tokens_decoded for answer in answers) - sum(answer.tokens_decoded for answer in earlier)

    def _entry(
        self,
        job: Job,
        outcome: Outcome,
        spent: Spent,
        read: Finished,
        summaries: list[Row] | None = None,
        failures: list[Row] | None = None,
    ) -> Entry:
        return {
            "document_id": job.document_id,
            "source_etag": job.row["source_etag"],
            "batch": job.batch,
            "claim": job.claim,
            "attempt": job.attempt,
            "actor_id": self.actor.id,
            "outcome": outcome,
            "started_at": job.started_at,
            "published_at": datetime.now(UTC),
            "tokens_resumed": job.tokens_resumed,
            "tokens_read": max(0, read.tokens_read - job.tokens_resumed),
            "tokens_decoded": max(0, self._decoded(job, read)),
            "spent": asdict(spent),
            "state_uri": job.parent_uri,
            "summaries": summaries or [],
            "failures": failures or [],
            "states": [],
            "reading": asdict(self.actor.reading()),
        }


def _badness(finish_reason: str) -> int:
    return ("stop", "length").index(finish_reason) if finish_reason in ("stop", "length") else 2


def unstorable(entry: Entry, error: DocumentError) -> Entry:
    """What remains of a document that finished, but whose rows or state cannot be stored: a failure with its cost."""
    row = entry["summaries"][0]
    known = {name: row[name] for name in FAILURES.names if name in row}
    failure = known | {"status": "failed"} | reason(error)
    return entry | {"outcome": "failed", "summaries": [], "failures": [failure], "states": []}
