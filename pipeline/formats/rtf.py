"""The text of RTF: paragraphs, headings, tables, footnotes, text boxes."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from configs.settings import InputSettings
from pipeline.formats import lines, shifted, titles
from pipeline.formats.encoding import without_surrogates
from pipeline.formats.notes import Notes
from pipeline.formats.shifted import Run, Shift

MADE_BY = "rtf 1"
TOKEN = re.compile(
    r"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z'])|([{}])|[\r\n]+|([^\\{}\r\n]+)|\\'?",
    re.DOTALL,
)
# What a group of such a name holds is no text of the document; neither is that of an unknown one with a star.
UNREAD = {
    *("fonttbl", "colortbl", "stylesheet", "info", "pict", "header", "headerl", "headerr", "headerf", "footer"),
    *("footerl", "footerr", "footerf", "ftnsep", "ftnsepc", "ftncn", "aftnsep", "aftnsepc", "aftncn", "objdata"),
    *("objclass", "objname", "listtable", "listoverridetable", "revtbl", "rsidtbl", "fldinst", "shprslt", "upr"),
    *("nonshppict", "nonesttables", "themedata", "datastore", "xmlnstbl", "filetbl", "bkmkstart", "bkmkend", "tc"),
    *("xe", "rxe", "template", "operator", "generator", "mmathPict", "atnid", "atnauthor", "sp", "category"),
}
# Within what is not read, these are: text boxes, and text in Unicode beside another for old programs.
READ_AGAIN = {"shptxt", "ud"}
BREAKS = {"par", "sect", "page"}
CHARACTERS = {
    **{"line": " ", "tab": " ", "emdash": "—", "endash": "–", "emspace": " ", "enspace": " ", "qmspace": " "},
    **{"bullet": "•", "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”", "zwj": "\u200d"},
    **{"nestcell": " ", "nestrow": " ", "softline": " ", "zwnj": "\u200c"},
}
ESCAPED = {"{": "{", "}": "}", "\\": "\\", "~": " ", "_": "-"}
CHARSETS = {
    **{0: "cp1252", 2: "symbol", 77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gbk", 136: "big5"},
    **{161: "cp1253", 162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251"},
    **{222: "cp874", 238: "cp1250", 254: "cp437", 255: "cp850"},
}
SYMBOL, BULLET_IN_SYMBOL = "symbol", b"\xb7"
SHIFTS: dict[str, Shift] = {"super": "raised", "sub": "lowered", "nosupersub": ""}
HIDING = {"v", "deleted", "htmlrtf"}


@dataclass(frozen=True)
class _State:
    """What holds until the end of a group."""

    codec: str
    destination: str = ""
    """Empty for text; else the name of what is not text."""
    hidden: frozenset[str] = frozenset()
    fallbacks: int = 1
    """How many characters follow a character in Unicode for programs without it."""
    shift: Shift = ""


def made_by(settings: InputSettings) -> str:
    """What the text depends on."""
    return MADE_BY


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Title and lines of text."""
    reader = _Reader(data.decode("latin-1"))
    texts = list(reader.lines())
    if reader.num_comments:
        notes.warnings.append(f"Comments were not read: {reader.num_comments}.")
    if not reader.is_complete:
        notes.warnings.append("The RTF breaks off before its end.")
    return titles.checked(without_surrogates("".join(reader.title))), iter(texts)


class _Reader:
    def __init__(self, source: str) -> None:
        self._source = source
        self._state = _State("cp1252")
        self._stack: list[_State] = []
        self._fonts: dict[str, str] = {}
        self._font, self._default_font = "", "0"
        self._starred = False
        self._skip = 0
        self._bytes = bytearray()
        self._text: list[Run] = []
        self._cells: list[str] = []
        self._in_table, self._level = False, 0
        self._aside: list[tuple[int, list[Run]]] = []
        self._notes: list[str] = []
        self._ended: list[str] = []
        self.title: list[str] = []
        self.num_comments = 0
        self.is_complete = False

    def lines(self) -> Iterator[str]:
        place, length = 0, len(self._source)
        while place < length and not self.is_complete:
            token = TOKEN.match(self._source, place)
            assert token is not None
            place = token.end()
            word, number, code, escaped, brace, run = token.groups()
            if code:
                self._take(bytes.fromhex(code))
            elif run:
                self._take(run.encode("latin-1"))
            elif word == "bin":
                place += max(0, int(number or 0))
            else:
                self._flush()
                if word:
                    self._control(word, number)
                elif escaped:
                    self._escaped(escaped)
                elif brace:
                    self._brace(brace)
                yield from self._ended
                self._ended.clear()
        self._end_of_paragraph()
        yield from self._ended
        for number, note in enumerate(self._notes, 1):
            yield lines.paragraph(f"[^{number}]: {note}")

    def _take(self, data: bytes) -> None:
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._starred = False
        self._bytes += data

    def _flush(self) -> None:
        """The bytes that have come in become text, in the encoding that held for them."""
        if self._bytes:
            data, self._bytes = bytes(self._bytes), bytearray()
            if self._state.codec == SYMBOL:
                self._add("•" if data == BULLET_IN_SYMBOL else data.decode("ascii", "ignore"))
            else:
                self._add(data.decode(self._state.codec, "replace"))

    def _add(self, text: str) -> None:
        if not self._state.destination and not self._state.hidden:
            self._text.append((self._state.shift, text))
        elif self._state.destination == "title":
            self.title.append(text)

    def _brace(self, brace: str) -> None:
        self._skip, self._starred = 0, False
        if brace == "{":
            self._stack.append(self._state)
            return
        if self._aside and self._aside[-1][0] == len(self._stack):
            self._end_aside()
        if self._stack:
            self._state = self._stack.pop()
        self.is_complete = not self._stack

    def _escaped(self, character: str) -> None:
        self._skip = 0
        if character == "*":
            self._starred = True
        elif character in "\r\n":
            self._end_of_paragraph()
        else:
            self._add(ESCAPED.get(character, ""))

    def _control(self, word: str, number: str | None) -> None:
        starred, self._starred = self._starred, False
        if word == "u":
            self._add(chr(int(number or 0) % 0x10000))
            self._skip = self._state.fallbacks
            return
        if self._skip:
            self._skip -= 1
            return
        if word in UNREAD or word in READ_AGAIN or starred:
            self._destination(word)
        elif word == "footnote" and not self._state.destination:
            self._aside.append((len(self._stack), self._text))
            self._text = []
        elif word == "title" and self._state.destination == "info":
            self._state = replace(self._state, destination="title")
        elif word.startswith("m") and word.endswith("Pr"):
            self._state = replace(self._state, destination=word)
        elif not self._state.destination:
            self._layout(word, number)
        if word in CONTROLS:
            CONTROLS[word](self, number)
        elif word in CODEPAGE_OF:
            self.set_codepage(CODEPAGE_OF[word])
        elif word in SHIFTS:
            self._state = replace(self._state, shift="" if number == "0" else SHIFTS[word])
        elif word in HIDING:
            self.set_hidden(word, number)

    def _destination(self, word: str) -> None:
        if word in READ_AGAIN:
            self._state = replace(self._state, destination="")
            return
        self.num_comments += word == "annotation"
        # A part of something that is not read may not be read more than it.
        if not self._state.destination or word == "fonttbl":
            self._state = replace(self._state, destination=word)

    def _layout(self, word: str, number: str | None) -> None:
        if word in BREAKS:
            self._end_of_paragraph()
        elif word in CHARACTERS:
            self._add(CHARACTERS[word])
        elif word == "cell":
            self._cells.append(shifted.joined(self._text))
            self._text = []
        elif word == "row":
            self._ended.append(without_surrogates(lines.row(self._cells)))
            self._cells = []
        elif word == "pard":
            self._in_table, self._level = False, 0
        elif word == "intbl":
            self._in_table = True
        elif word == "outlinelevel":
            level = int(number or 0)
            self._level = level + 1 if 0 <= level < 9 else 0

    def _end_of_paragraph(self) -> None:
        if self._in_table or self._aside:
            self._text.append(("", " "))
            return
        text = without_surrogates("".join([*self._cells, shifted.joined(self._text)]))
        self._ended.append(lines.heading(self._level, text) if self._level else lines.paragraph(text))
        self._cells, self._text = [], []

    def _end_aside(self) -> None:
        """At the end of a footnote the text goes on where it stood."""
        note = " ".join(without_surrogates(shifted.joined(self._text)).split())
        self._text = self._aside.pop()[1]
        self._notes.append(note)
        self._text.append(("", f"[^{len(self._notes)}]"))

    def set_codepage(self, number: str | None) -> None:
        self._state = replace(self._state, codec=_known(f"cp{number}"))

    def set_font(self, number: str | None) -> None:
        if self._state.destination == "fonttbl":
            self._font = number or ""
        else:
            self._state = replace(self._state, codec=self._fonts.get(number or "", self._codec_of_document()))

    def set_charset(self, number: str | None) -> None:
        if self._state.destination == "fonttbl" and (codec := CHARSETS.get(int(number or 0))):
            # A font for ANSI is in the code page of the document.
            self._fonts[self._font] = self._codec_of_document() if number == "0" else codec

    def set_default_font(self, number: str | None) -> None:
        self._default_font = number or "0"

    def set_plain(self, number: str | None) -> None:
        self._state = replace(self._state, hidden=frozenset(), shift="")
        self.set_font(self._default_font)

    def set_fallbacks(self, number: str | None) -> None:
        self._state = replace(self._state, fallbacks=max(0, int(number or 1)))

    def set_hidden(self, word: str, number: str | None) -> None:
        hidden = self._state.hidden - {word} if number == "0" else self._state.hidden | {word}
        self._state = replace(self._state, hidden=hidden)

    def _codec_of_document(self) -> str:
        """The one that was set in the outermost group."""
        return self._stack[1].codec if len(self._stack) > 1 else self._state.codec


CONTROLS = {
    "ansicpg": _Reader.set_codepage,
    "f": _Reader.set_font,
    "fcharset": _Reader.set_charset,
    "deff": _Reader.set_default_font,
    "plain": _Reader.set_plain,
    "uc": _Reader.set_fallbacks,
}
CODEPAGE_OF = {"mac": "10000", "pc": "437", "pca": "850"}
CODEPAGES = {"cp10000": "mac_roman", "cp10001": "cp932", "cp10006": "mac_greek", "cp10007": "mac_cyrillic"}
CODEPAGES |= {"cp10029": "mac_latin2", "cp10081": "mac_turkish", "cp65001": "utf-8", "cp936": "gbk"}


def _known(codepage: str) -> str:
    name = CODEPAGES.get(codepage, codepage)
    try:
        codecs.lookup(name)
    except LookupError:
        return "cp1252"
    return name
