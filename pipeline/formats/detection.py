"""Which encoding bytes are in, if nothing tells.

chardet proposes encodings. Proposals are weighed here, since a wrong guess would be summarized: a reading in which
letters and symbols are mixed as in no language is none, and where two readings are as good as each other, the document
is refused.
"""

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

CJK = {
    "cp932": ("euc_jp", 0xCF),
    "euc_jp": ("euc_jp", 0xCF),
    "gb18030": ("gb2312", 0xD7),
    "big5": ("big5", 0xC6),
    "cp949": ("euc_kr", 0xC8),
    "johab": ("euc_kr", 0xC8),
}
"""Encodings of thousands of characters, each with a character set that begins with the common ones, and the last lead
byte of these in it."""
USUAL = [
    *("cp1252", "cp1250", "iso8859-2", "cp1254", "cp1251", "koi8-r", "koi8-u", "cp866", "iso8859-5", "cp1253"),
    *("iso8859-7", "cp1255", "cp1256", "iso8859-6", "cp874", "cp1257", "cp1258", "iso8859-15", "iso8859-13"),
    "iso8859-4",
    *(encoding for encoding in CJK if encoding != "johab"),
]
"""The commonest first."""
RARE = [
    *("mac-cyrillic", "cp855", "mac-roman", "mac-latin2", "cp437", "cp850", "cp852", "cp857", "mac-turkish"),
    *("mac-greek", "cp737", "cp775", "johab"),
]
"""Encodings of old systems, which need more evidence."""
ALPHABETS = [encoding for encoding in (*USUAL, *RARE) if encoding not in CJK]
LATIN = {
    *("cp1252", "cp1250", "iso8859-2", "cp1254", "cp1257", "cp1258", "iso8859-15", "iso8859-13", "iso8859-4"),
    *("mac-roman", "mac-latin2", "cp437", "cp850", "cp852", "cp857", "mac-turkish", "cp775"),
}
WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
EBCDIC = ["cp037", "cp500", "cp273", "cp1140", "cp1026"]
READ_AS = {
    **{"iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-8": "cp1255", "tis-620": "cp874", "iso8859-11": "cp874"},
    **{"shift_jis": "cp932", "shift_jisx0213": "cp932", "shift_jis_2004": "cp932", "euc_jis_2004": "euc_jp"},
    **{"euc_kr": "cp949", "gb2312": "gb18030", "gbk": "gb18030", "big5hkscs": "big5", "cp950": "big5"},
    **{"cp858": "cp850", "cp1125": "cp866"},
}
"""Encodings that another one contains, as browsers read them, or that is as good as the same."""
RELATIVELY_GOOD, AS_GOOD = 0.85, 0.995
"""Shares of the best confidence from which another proposal is considered at all, and from which it is a rival."""
DOUBTFULLY_GOOD = 0.4
MIN_CJK_CONFIDENCE = 0.1
MIN_EBCDIC_CONFIDENCE = 0.2
MAX_ODD_SHARE = 0.03
MIN_COMMON_SHARE = 0.8
MAX_ACCENT_SHARE = 0.3
FILLERS = {0xFE, 0xFF}
"""What a faulty device or program leaves; letters that no text has alone."""
NEIGHBORS = 4
LITTLE_EVIDENCE = 8
"""Bytes beyond ASCII."""
MAX_UNASSIGNED_SHARE = 0.02
JUDGED_CHARS = 4096

HIGH = re.compile(rb"[\x80-\xff]")
LETTER = r"[^\W\d_]"
CONTROL = "[\x80-\x84\x86-\x9f]"
SYMBOL = "[¤¦¨©¬®¯±¶¸÷×¢£¥µ¿¡‡†ˆ˜™¹²³ªº¼½¾‰‹›˙˝˛˚\u2202-\u22ff\u2320-\u25ff]"
"""What stands beside no letter."""
QUOTE = "[„“”«»‚‘…€§°]"
"""What stands not between letters."""
ODD = re.compile(
    rf"{CONTROL}|(?<={LETTER}){SYMBOL}|{SYMBOL}(?={LETTER})|(?<={LETTER}){QUOTE}(?={LETTER})"
    rf"|(?<!{LETTER})[ÿþ](?!{LETTER})"
)
BLANK = re.compile(r"[ \n]")
WORD = re.compile(rf"{LETTER}+")
BEYOND = re.compile(r"[^\W\d_\x00-\x7f]+")
ENDLESS_WORD = re.compile(r"[^\W\d_\x00-\x7f]{41}")
FOREIGN_WORD = re.compile(r"[^\W\d_\x00-\u024f]{2}")
SCRIPTS = {"LATIN", "GREEK", "CYRILLIC", "HEBREW", "ARABIC"}


@dataclass(frozen=True)
class Guess:
    """The encoding of a document that says nothing of it."""

    encoding: str | None = None
    """None if no encoding fits, or if several do."""
    rivals: tuple[str, ...] = ()
    """The encodings that fit, if it cannot be told which is right, or if there is too little text to tell."""


@dataclass(frozen=True)
class _Reading:
    encoding: str
    text: str
    confidence: float
    num_odd: int


def guess(sample: bytes) -> Guess:
    """The encoding in which a sample, cut at no character, looks like natural language."""
    sample = _condensed(sample)
    if not set(b"".join(HIGH.findall(sample))) - FILLERS:
        return Guess()
    readings = sorted(_readings(sample), key=lambda reading: -reading.confidence)
    if not readings:
        return Guess()
    top = readings[0]
    if top.encoding in EBCDIC:
        return _mainframe(top, sample)
    if top.encoding in CJK:
        return _double_byte(readings)
    found = _alphabetic([reading for reading in readings if reading.encoding in ALPHABETS], sample)
    # In a text that is mostly English, the few Chinese words count little for chardet.
    return found if found.encoding or found.rivals else _double_byte(readings)


def _condensed(sample: bytes) -> bytes:
    """Of a sample that is mostly ASCII, the words with other bytes and those beside them: the rest tells nothing."""
    if b"\0" in sample or 20 * len(HIGH.findall(sample)) > len(sample):
        return sample
    words = sample.split()
    telling = [place for place, word in enumerate(words) if not word.isascii()]
    kept = sorted({near for place in telling for near in range(place - NEIGHBORS, place + NEIGHBORS + 1)})
    return b" ".join(words[place] for place in kept if 0 <= place < len(words))


def _readings(sample: bytes) -> Iterator[_Reading]:
    import chardet  # its models are read at once

    seen = set()
    for proposal in chardet.detect_all(sample, ignore_threshold=True):
        encoding = _read_as(proposal["encoding"] or "ascii")
        if encoding in EBCDIC and proposal["confidence"] < MIN_EBCDIC_CONFIDENCE:
            continue
        if encoding in seen or encoding not in (*USUAL, *RARE, *EBCDIC):
            continue
        seen.add(encoding)
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        num_odd = _num_odd(text) if encoding in USUAL or encoding in RARE else 0
        yield _Reading(encoding, text, proposal["confidence"], num_odd)


def _read_as(name: str) -> str:
    try:
        encoding = codecs.lookup(name).name
    except LookupError:
        return name
    return READ_AS.get(encoding, encoding)


def _double_byte(readings: list[_Reading]) -> Guess:
    """The best of the Chinese, Japanese and Korean readings, if its characters are common ones."""
    best = next((reading for reading in readings if reading.encoding in CJK), None)
    if best is None or best.confidence < MIN_CJK_CONFIDENCE:
        return Guess()
    return Guess(best.encoding if share_of_common(best.text, best.encoding) >= MIN_COMMON_SHARE else None)


def _alphabetic(readings: list[_Reading], sample: bytes) -> Guess:
    """The choice among alphabets: the fewest oddities first, then confidence, then the commonest."""
    high = sum(byte > 127 for byte in sample)
    readings = [reading for reading in readings if _has_words(reading)]
    best = max((reading.confidence for reading in readings), default=0.0)
    near = [reading for reading in readings if reading.confidence >= RELATIVELY_GOOD * best]
    least = min((reading.num_odd for reading in near), default=high)
    if least > MAX_ODD_SHARE * high or not near:
        return Guess()
    fit = [reading for reading in near if reading.num_odd == least]
    fit.sort(key=lambda reading: (-reading.confidence, ALPHABETS.index(reading.encoding)))
    if high < LITTLE_EVIDENCE and (western := _western(readings, fit[0])):
        return western
    close = [reading for reading in fit if reading.confidence >= AS_GOOD * fit[0].confidence]
    close = [reading for reading in close if reading.encoding in USUAL] or close
    rivals = [reading.encoding for reading in close if reading.text != close[0].text]
    if rivals or (close[0].encoding in RARE and high < LITTLE_EVIDENCE):
        return Guess(None, (close[0].encoding, *rivals))
    # Where encodings do not differ in the sample, the commonest may differ in the rest.
    same = [reading.encoding for reading in readings if reading.text == close[0].text]
    return Guess(min(same, key=ALPHABETS.index))


def _western(readings: list[_Reading], top: _Reading) -> Guess | None:
    """What a few accents are, where Western European fits as well: most texts are in it."""
    western = next((reading for reading in readings if reading.encoding == "cp1252"), None)
    if western is None or western.num_odd > top.num_odd or western.confidence < DOUBTFULLY_GOOD * top.confidence:
        return None
    is_as_good = western.text == top.text or western.confidence >= RELATIVELY_GOOD * top.confidence
    return Guess("cp1252") if is_as_good else Guess(None, ("cp1252", top.encoding))


def _has_words(reading: _Reading) -> bool:
    """Whether letters beyond ASCII are as rare as in Latin words if they are Latin, and make words if they are not."""
    if reading.encoding != "cp874" and ENDLESS_WORD.search(reading.text):
        return False
    if reading.encoding in LATIN:
        beyond = sum(map(len, BEYOND.findall(reading.text)))
        return beyond <= MAX_ACCENT_SHARE * len(reading.text)
    return FOREIGN_WORD.search(reading.text) is not None


def _num_odd(text: str) -> int:
    words = Counter(word for word in WORD.findall(text) if not word.isascii())
    return len(ODD.findall(text)) + sum(count for word, count in words.items() if _is_odd(word))


def _is_odd(word: str) -> bool:
    """Whether a word has a capital after a small letter, one of them beyond ASCII, or letters of several scripts."""
    pairs = pairwise(word)
    if any(first.islower() and second.isupper() and not (first + second).isascii() for first, second in pairs):
        return True
    return len({unicodedata.name(letter, "").partition(" ")[0] for letter in set(word)} & SCRIPTS) > 1


def share_of_common(text: str, encoding: str) -> float:
    """Share of common characters among the Chinese, Japanese or Korean ones, by the character set of an encoding."""
    charset, last_lead = CJK[encoding]
    beyond = [character for character in text if character >= "\u2e80"][:JUDGED_CHARS]
    codes = (character.encode(charset, "ignore") for character in beyond)
    return sum(len(code) == 2 and code[0] <= last_lead for code in codes) / max(1, len(beyond))


def _mainframe(top: _Reading, sample: bytes) -> Guess:
    """The code pages of mainframes differ in punctuation, which no model of a language tells apart."""
    rivals = [encoding for encoding in ("cp037", "cp500") if sample.decode(encoding) != top.text]
    return Guess(None, (top.encoding, *rivals)) if rivals else Guess(top.encoding)


def is_plausible(text: str) -> bool:
    """Whether a text that was decoded from UTF-16 or UTF-32 may be one: other bytes give characters at random."""
    text = text[:JUDGED_CHARS]
    odd = sum(
        unicodedata.category(character) in ("Cn", "Co", "Cc") for character in text if character not in "\t\r\n\f"
    )
    return odd <= MAX_UNASSIGNED_SHARE * len(text) and not {"\0", "\ufeff"} & set(text) and _share_of_likely(text) > 0.7


def wide(sample: bytes) -> str | None:
    """The form of UTF-16 or UTF-32 that a sample with NULs, half of its blanks, is in."""
    found = []
    for encoding in WIDE:
        with suppress(UnicodeDecodeError):
            text = codecs.getincrementaldecoder(encoding)().decode(sample)
            if is_plausible(text):
                found.append((len(BLANK.findall(text)), encoding))
    num_blanks, encoding = max(found, default=(0, ""))
    return encoding if num_blanks else None


def _share_of_likely(text: str) -> float:
    """Share of letters of an alphabet, common Chinese characters, Kana, Hangul and emoji."""
    likely = sum(not "\u2e80" <= character <= "\uffff" or _is_common(character) for character in text)
    return likely / max(1, len(text))


def _is_common(character: str) -> bool:
    return any(share_of_common(character, encoding) for encoding in ("euc_jp", "gb18030", "big5", "cp949"))
