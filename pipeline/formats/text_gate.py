"""Whether text that a parser made is what its document says, or rubbish: names of glyphs, codes without a meaning,
words run together.

What is certain is mended or left out, and counted. Whether the rest can be read is judged by the share of rubbish.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

GLYPH_NAME = re.compile(r"/(?:[gGcC]|cid|glyph|uni)\d{1,5}\b|\(cid:\d{1,6}\)")
MEANINGLESS = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ue000-\uf8ff\U000f0000-\U0010ffff]")
"""Control characters, those that are none, and private use."""
BULLETS = str.maketrans(dict.fromkeys("\uf0b7\uf0a7\uf0d8\uf076\uf0a8\uf06e\uf0fc\uf0e0\uf02d", "•"))
"""Of the fonts Symbol and Wingdings, as office programs use them."""
ACCENTED = re.compile("([\u00a8\u00b4\u02c6\u02c7\u02d8\u02da\u02dc])([A-Za-z\u0131])")
"""An accent that is drawn on its own, before its letter, as TeX does."""
COMBINING = dict(
    zip("\u00a8\u00b4\u02c6\u02c7\u02d8\u02da\u02dc", "\u0308\u0301\u0302\u030c\u0306\u030a\u0303", strict=True)
)
LIGATURE = re.compile("[\ufb00-\ufb06]")
TO_MEND = re.compile(f"{MEANINGLESS.pattern[:-1]}{''.join(COMBINING)}\ufb00-\ufb06]")
WORD = re.compile(r"[A-Za-z\u00c0-\u024f]+")
LONG = 26
"""Letters: hardly a word has as many."""
VOWELS = "aeiouyäöüáéíóúàèìòùâêîôûãõåæøœëïıýąęėįųūőű"
COMMON_WORDS = """
a al als an and are as at att au auf av be bir bu by che com con da dans das dat de dei del della dem den der
des det di die do du e een ein eine el em en es est et for from für has have he het his i ikke il ile im in is
ist it için je jest la las le les lo los met mit na nicht nie niet no non not não o och of og on op or os par
para pas per por pour på que qui s se she si sich się som su sur te that the this til to um uma un una und une
v van ve von voor w was we which with y you z za zijn zu är że
"""
COMMON = frozenset(COMMON_WORDS.split())
"""The most frequent words of languages of Europe."""
LEAST_LETTERS = 60
"""To judge by."""


@dataclass(frozen=True)
class Judged:
    """Text as it can be used, and what was found in it."""

    text: str
    num_left_out: int = 0
    """Characters without a meaning."""
    num_replaced: int = 0
    """U+FFFD: characters that had been lost before."""
    rubbish: str | None = None
    """What most of the text is, if it cannot be read."""


def judged(text: str, num_unmapped: int = 0) -> Judged:
    """`num_unmapped` of its characters come from fonts that do not say what they mean."""
    text, left_out = mended(text)
    replaced = text.count("\ufffd")
    return Judged(text, left_out, replaced, _rubbish(text, left_out + replaced, num_unmapped))


def mended(text: str) -> tuple[str, int]:
    """Text with ligatures as letters and without characters that mean nothing, and the number of those."""
    if not TO_MEND.search(text):
        return text, 0
    text = LIGATURE.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text.translate(BULLETS))
    return MEANINGLESS.subn("", ACCENTED.sub(_accented, text))


def _accented(found: re.Match[str]) -> str:
    """One letter, if there is one."""
    letter = unicodedata.normalize("NFC", found[2].replace("\u0131", "i") + COMBINING[found[1]])
    return letter if len(letter) == 1 else found[0]


def _rubbish(text: str, num_bad: int, num_unmapped: int) -> str | None:
    size = len(text) + num_bad
    if num_bad > max(4, 0.15 * size):
        return "characters without a meaning"
    if sum(map(len, GLYPH_NAME.findall(text))) > 0.2 * size:
        return "names of glyphs"
    words = WORD.findall(text)
    lengths = list(map(len, words))
    num_latin = sum(lengths)
    is_latin = num_latin > LEAST_LETTERS and (
        num_latin > 0.6 * len(text) or num_latin > 0.6 * sum(map(str.isalpha, text))
    )
    if is_latin and sum(length for length in lengths if length >= LONG) > 0.4 * num_latin:
        return "words run together"
    if num_unmapped > 0.3 * size and not (_is_language(words) or _is_of_one_script(text)):
        return "codes of glyphs"
    if is_latin and sum(map("".join(words).lower().count, VOWELS)) < 0.12 * num_latin:
        return "letters that make no words"
    return None


def _is_language(words: list[str]) -> bool:
    """Whether some of the words are the most common ones of a language."""
    known = sum(word.lower() in COMMON for word in words)
    return known > 0.08 * len(words) and known > 1 and len(words) > 2


def _is_of_one_script(text: str) -> bool:
    """Whether letters are of one script other than Latin; those of Japanese count as one."""
    names = [unicodedata.name(character, "?").split()[0] for character in text[:2000] if character.isalpha()]
    scripts = Counter("CJK" if name in ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA") else name for name in names)
    scripts.pop("LATIN", None)
    return max(scripts.values(), default=0) > 0.7 * len(names) and len(names) > 5
