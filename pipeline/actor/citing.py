"""Compares answers with their document: what supports each sentence, and which numbers and names are not in it."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import structlog

from pipeline.schemas.tables import Row
from pipeline.sentences import grounding
from pipeline.sentences.key_sentences import KeySentences

log = structlog.get_logger()


def cited(summaries: Sequence[Row], passages: bytes) -> list[Row]:
    """The rows, those of answers with `citations` and `unsupported`. `passages` are stored `KeySentences`."""
    try:
        sentences = KeySentences.from_bytes(passages)
        return [row if row["kind"] == "extract" else row | _grounds(row["summary"], sentences) for row in summaries]
    except Exception:  # what is wrong with them is no reason to lose the answers
        log.warning("answers_not_compared", document_id=summaries[0]["document_id"], exc_info=True)
        return list(summaries)


def _grounds(answer: str, sentences: KeySentences) -> Row:
    values = _values(answer)
    if values is not None:
        # Of JSON the values alone are about the document, and they are no sentences.
        return {"citations": [], "unsupported": _unsupported("\n".join(values), sentences)}
    return {
        "citations": [_citation(answer, each) for each in grounding.citations(answer, sentences)],
        "unsupported": _unsupported(answer, sentences),
    }


def _unsupported(text: str, sentences: KeySentences) -> list[str]:
    return list(dict.fromkeys(each.text for each in grounding.unsupported(text, sentences.facts)))


def _citation(answer: str, found: grounding.Citation) -> Row:
    return {
        "answer_start": len(answer[: found.answer_start].encode()),
        "answer_end": len(answer[: found.answer_end].encode()),
        "start": found.start_byte,
        "end": found.end_byte,
        "section": found.section or None,
        "score": found.score,
        "text": found.text,
    }


def _values(answer: str) -> list[str] | None:
    """The texts and numbers in an answer that is JSON; None if it is prose."""
    if answer.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return list(_leaves(json.loads(answer)))
    except ValueError:
        return None


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _leaves(each)
    elif isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        yield str(value)
