"""Sentences as a summary shows them: without the blanks that transcripts put before commas and points, and, where they
were spoken, without hesitations, stammers and the words that only open a turn."""

import re

from pipeline.sentences.lexicon import FILLERS, OPENINGS, STOP_WORDS

DETACHED = re.compile(r" +(?=[,.](?:\s|$))")
SPOKEN_DETACHED = re.compile(r" +(?=(?:[,.;:?!]+|n't|'\w{1,2})(?:\s|$))")
SPELLED = re.compile(r"\b(?:[A-Z]_)+(?!\w{2})")
"""Letters that a transcript spells out, `T_V_`."""
_FILLER = rf"(?:{'|'.join(FILLERS)})"
HESITATION = re.compile(rf"(?<!\S){_FILLER}(?:-{_FILLER})*(?=[\s,.?!]|$)[ ,]*", re.I)
ASIDE = re.compile(r"(?:, *|^)(?:you know|I mean|I guess|you see)(?: *,|(?=[.?!]))", re.I)
OPENING = re.compile(
    rf"(?:(?:{'|'.join(OPENINGS)}|right(?= (?:and|so|well|okay)\b))\b(?! that| far| much| many| long|['’-])[ ,.]*)+"
    r"(?=\w)",
    re.I,
)
ASSENT = re.compile(r"(?:(?:right|now|actually|basically|again) *, *)+(?=\w)", re.I)
AGAIN = re.compile(r"(?<![\w'-])(\w[\w'’-]*+(?: ++\w[\w'’-]*+){0,2})(?:[ ,]++\1(?![\w'’-]))+", re.I)
BEGUN = re.compile(r"(?<![\w'’-])(\w++) ++(?=\1\w)", re.I)
STUB = re.compile(r"(?<![\w'’-])(?:[b-hj-mp-wz]|th) (?=[a-z])")
ABANDONED = re.compile(
    r"\b(?:the|an?) (?=(?:(?:the|an?|this|these|those|and|but|or|is|was|are|were|we|you|he|she|they|because|if)\b(?!-)"
    r"|(?:in|on|at|of|to|for|from|with) (?:the|an?|my|our|your|this|that)\b|,))",
    re.I,
)
"""An article before what none stands before: a sentence that was begun anew."""
COMMAS = re.compile(r",(?:\s*,)+|,(?=\s*[.?!])")
_FILLERS, _ARTICLES = frozenset(FILLERS), frozenset(("the", "a", "an"))


def shown(text: str, is_spoken: bool) -> str:
    """A sentence on one line, as a summary shows it. What is said is as it was, but for what means nothing."""
    if not is_spoken:
        return DETACHED.sub("", text) if " ," in text or " ." in text else text
    begins = text[:1].isupper()
    found = text.lower().split()
    distinct = set(found)
    # Most sentences need few of these, and most of the time would go into looking for the others.
    if is_spelled := "_" in text:
        text = SPELLED.sub(_joined, text)
    if not _FILLERS.isdisjoint(distinct):
        text = HESITATION.sub("", text)
    text = STUB.sub("", BEGUN.sub(_finished, text))
    if is_spelled or not _ARTICLES.isdisjoint(distinct):
        text = ABANDONED.sub("", text)
    if "you" in distinct or "i" in distinct:
        text = ASIDE.sub(",", text)
    for opens in (OPENING, ASSENT):
        text = text.lstrip(" ,.-")
        if opened := opens.match(text):
            text = text[opened.end() :]
    if len(distinct) < len(found):
        text = AGAIN.sub(r"\1", text)
    text = SPOKEN_DETACHED.sub("", text)
    if "," in text:
        text = COMMAS.sub(_once, text)
    text = text.strip(" ,")
    return text[:1].upper() + text[1:] if begins else text


def _joined(found: re.Match[str]) -> str:
    return found.group().replace("_", "")


def _finished(found: re.Match[str]) -> str:
    """Nothing for the part of a word that stands before the whole; words of their own stay."""
    part = found[1].lower()
    return found.group() if part in STOP_WORDS and (len(part) > 1 or part in "ai") else ""


def _once(found: re.Match[str]) -> str:
    return "," if "," in found.group()[1:] else ""
