"""The text of a page in lines: each paragraph, heading, list item and row of a table on one of its own."""

import re
from collections.abc import Callable, Collection, Iterator

from lxml import etree

from pipeline.formats import html_forms, html_scripts
from pipeline.formats.html_elements import BLOCKS, CELLS, CODE, FIELDS, HEADINGS, HOLDERS, INLINE, LISTS, UNSEEN
from pipeline.formats.html_lists import BULLET, Numbering
from pipeline.formats.html_tables import Kind, Line, Table
from pipeline.formats.html_visibility import Look, Visibility

INVISIBLE = re.compile(
    "[\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\U000e0000-\U000e007f]"
)
"""Characters that nobody sees. Joiners within words and pictures are kept."""
LIKE_HEADING = re.compile(r"#{1,6}\s")
FENCE = "```"
PLAIN: tuple[Kind, str] = (Kind.TEXT, "")
NEAR = 40
"""Characters before raised text that tell what it is."""


def lines(
    root: etree._Element,
    visibility: Visibility,
    formulas: dict[etree._Element, str],
    left_out: Collection[etree._Element] = (),
) -> Iterator[str]:
    """The text of an element in lines without their ends; a block of code is one, with line ends within."""
    page = _Page(visibility, formulas, reads_all=not (visibility.hides_some or formulas or left_out))
    enter, leave, done = page.enter, page.leave, page.done
    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        if event == "end":
            leave(element, element is not root)
        elif left_out and element in left_out:
            page.leave_out(element)
            walk.skip_subtree()
        elif not enter(element):
            walk.skip_subtree()
        if done:
            yield from map(_marked, done)
            done.clear()
    page.break_line()
    yield from map(_marked, page.done)


def _marked(line: Line) -> str:
    if line.kind is Kind.CODE:
        fence = FENCE
        while fence in line.text:
            fence += "`"
        return f"{fence}\n{line.text}\n{fence}"
    if line.prefix:
        return line.prefix + line.text
    # What only looks like a heading is none.
    return "\\" + line.text if line.text.startswith("#") and LIKE_HEADING.match(line.text) else line.text


class _Page:
    """What is read so far, and where in the page that is."""

    def __init__(self, visibility: Visibility, formulas: dict[etree._Element, str], reads_all: bool) -> None:
        self._look_of, self._may_be_hidden, self._formulas = visibility.of, visibility.hides_some, formulas
        self._reads_all = reads_all
        self.done: list[Line] = []
        """Lines that are complete."""
        self._line: list[str] = []
        self._target = self.done
        """Where lines go: the page, or a cell."""
        self._outer: list[list[Line]] = []
        self._mark = PLAIN
        self._heading: etree._Element | None = None
        self._preformatted = 0
        self._named = 0
        """Depth of headings and summaries, in which a button is text."""
        self._tables: list[Table | None] = []
        self._lists: list[Numbering] = []
        self._scripts: list[int] = []
        self._flushed = 0
        self._shown = [True]
        self._shown_since: list[etree._Element | None] = [None]
        self._skipped: etree._Element | None = None

    def enter(self, element: etree._Element) -> bool:
        """Begin an element; False if nothing more within is read."""
        tag = element.tag
        if self._formulas and (formula := self._formulas.get(element)) is not None:
            self._add(formula)
            return self._skip(element)
        if tag in UNSEEN:
            return self._skip(element)
        if self._may_be_hidden:
            look = self._look_of(element)
            if look is not Look.AS_ITS_PARENT and not self._look(element, look):
                return self._skip(element)
        if tag not in INLINE:
            if tag in BLOCKS:
                if self._line:
                    self.break_line()
            elif (enter := ENTER.get(tag)) is not None:
                if not enter(self, element):
                    return self._skip(element)
            elif _holds_blocks(element):
                self.break_line()
        if text := element.text:
            self._add(text)
        return True

    def leave_out(self, element: etree._Element) -> None:
        """Begin an element of which nothing is read."""
        self.break_line()
        self._skip(element)

    def leave(self, element: etree._Element, goes_on: bool) -> None:
        """End an element, and read the text after it if that belongs to what is read."""
        if element is self._skipped:
            self._skipped = None
        else:
            tag = element.tag
            if tag not in INLINE:
                if tag in BLOCKS:
                    if self._line:
                        self.break_line()
                elif (leave := LEAVE.get(tag)) is not None:
                    leave(self, element)
                elif tag not in ENTER and _holds_blocks(element):
                    self.break_line()
        if element is self._shown_since[-1]:
            self._shown_since.pop()
            self._shown.pop()
        if goes_on and (text := element.tail):
            self._add(text)

    def _look(self, element: etree._Element, look: Look) -> bool:
        if look is Look.CHROME:
            self.break_line()
        if look in (Look.CHROME, Look.GONE):
            return False
        self._shown.append(look is Look.SEEN)
        self._shown_since.append(element)
        return True

    def _skip(self, element: etree._Element) -> bool:
        self._skipped = element
        return False

    def _add(self, text: str) -> None:
        if self._shown[-1] and (self._line or self._preformatted or not text.isspace()):
            self._line.append(text)

    def break_line(self) -> None:
        """What follows is on a new line, or the next one of code; in a heading it is the next word."""
        if not self._line:
            return
        if self._preformatted:
            if not self._line[-1].endswith("\n"):
                self._line.append("\n")
        elif self._heading is not None:
            self._line.append(" ")
        else:
            self._flush()

    def _flush(self) -> None:
        text = _clean("".join(self._line))
        self._line.clear()
        self._flushed += 1
        if text:
            kind, prefix = self._mark
            self._target.append(Line(kind, prefix, text))
            self._mark = PLAIN

    def _enter_break(self, element: etree._Element) -> bool:
        if self._preformatted:
            self._add("\n")
        else:
            self.break_line()
        return True

    def _enter_heading(self, element: etree._Element) -> bool:
        self._named += 1
        if self._heading is None and not self._preformatted:
            self.break_line()
            self._heading = element
            self._mark = (Kind.HEADING, HEADINGS[element.tag])
        return True

    def _leave_heading(self, element: etree._Element) -> None:
        self._named -= 1
        if self._heading is element:
            self._heading = None
            self.break_line()
            self._mark = PLAIN

    def _enter_list(self, element: etree._Element) -> bool:
        self.break_line()
        self._lists.append(Numbering(element))
        return True

    def _leave_list(self, element: etree._Element) -> None:
        self.break_line()
        self._lists.pop()

    def _enter_item(self, element: etree._Element) -> bool:
        self.break_line()
        if self._heading is None:
            self._mark = (Kind.ITEM, self._lists[-1].mark(element) if self._lists else BULLET)
        return True

    def _leave_item(self, element: etree._Element) -> None:
        self.break_line()
        if self._heading is None:
            self._mark = PLAIN

    def _enter_table(self, element: etree._Element) -> bool:
        self.break_line()
        self._tables.append(Table())
        return True

    def _leave_table(self, element: etree._Element) -> None:
        self.break_line()
        if (table := self._tables.pop()) is not None:
            self._target += table.take()

    def _enter_row(self, element: etree._Element) -> bool:
        self.break_line()
        if self._tables and (table := self._tables[-1]) is not None:
            table.open_row()
            if self._reads_all and not self._preformatted and self._heading is None and _is_plain(element):
                # As most rows of large tables, which take half of the time when they are read at once.
                for cell in element:
                    table.add_cell(cell.get("colspan"), cell.get("rowspan"), _clean(cell.text or ""))
                self._leave_row(element)
                return False
        return True

    def _leave_row(self, element: etree._Element) -> None:
        self.break_line()
        if self._tables and (table := self._tables[-1]) is not None:
            table.close_row()
            if table.is_long:
                self._target += table.take()

    def _enter_cell(self, element: etree._Element) -> bool:
        if not self._tables or (table := self._tables[-1]) is None:
            self._line.append(" ")
            return True
        if self._line:
            self.break_line()
        colspan, rowspan = element.get("colspan"), element.get("rowspan")
        if len(element) == 0 and not self._preformatted and self._heading is None:
            # Most cells hold a number and nothing else.
            text = element.text
            table.add_cell(colspan, rowspan, _clean(text) if text and self._shown[-1] else "")
            return False
        self._outer.append(self._target)
        self._target = []
        table.add_cell(colspan, rowspan, "", self._target)
        self._mark = PLAIN
        # A table within is one of its own, and other rows and cells within belong to none.
        self._tables.append(None)
        return True

    def _leave_cell(self, element: etree._Element) -> None:
        if not self._tables or self._tables[-1] is not None:
            self._line.append(" ")
            return
        self.break_line()
        self._mark = PLAIN
        self._tables.pop()
        self._target = self._outer.pop()

    def _enter_code(self, element: etree._Element) -> bool:
        if not self._preformatted and self._heading is None:
            self.break_line()
        self._preformatted += 1
        return True

    def _leave_code(self, element: etree._Element) -> None:
        self._preformatted -= 1
        if not self._preformatted and self._heading is None:
            text = "".join(self._line).replace("\r\n", "\n").replace("\r", "\n").strip("\n")
            self._line.clear()
            self._flushed += 1
            text = text if text.isascii() else INVISIBLE.sub("", text)
            if text.strip():
                self._target.append(Line(Kind.CODE, "", "\n".join(map(str.rstrip, text.split("\n")))))

    def _enter_script(self, element: etree._Element) -> bool:
        self._scripts += [self._flushed, len(self._line)]
        return True

    def _leave_script(self, element: etree._Element) -> None:
        start, flushed = self._scripts.pop(), self._scripts.pop()
        if flushed != self._flushed or len(self._line) == start:
            return
        text = "".join(self._line[start:])
        del self._line[start:]
        before = _end(self._line)
        if element.tag == "sub":
            self._line.append(html_scripts.lowered(before, text, element.tail or ""))
        elif _is_fraction(element, text) and before[-1:].isdigit():
            self._line.append(" " + text.strip())
        else:
            is_link = len(element) > 0 and next(element.iter("a"), None) is not None
            self._line.append(html_scripts.raised(before, text, element.tail or "", is_link))

    def _enter_field(self, element: etree._Element) -> bool:
        if text := html_forms.value(element).strip():
            self._add(f" {text} ")
        return False

    def _enter_button(self, element: etree._Element) -> bool:
        self._line.append(" ")
        return self._named > 0

    def _enter_summary(self, element: etree._Element) -> bool:
        self._named += 1
        self.break_line()
        return True

    def _leave_summary(self, element: etree._Element) -> None:
        self._named -= 1
        self.break_line()

    def _enter_nav(self, element: etree._Element) -> bool:
        self.break_line()
        return False

    def _enter_dialog(self, element: etree._Element) -> bool:
        self.break_line()
        return element.get("open") is not None

    def _leave_block(self, element: etree._Element) -> None:
        self.break_line()

    def _quote(self, element: etree._Element) -> bool:
        self._add('"')
        return True


def _clean(text: str) -> str:
    """In one line, without what nobody sees."""
    return " ".join((text if text.isascii() else INVISIBLE.sub("", text)).split())


def _is_plain(row: etree._Element) -> bool:
    """Whether all that a row of a table holds is cells with nothing but text."""
    return not (row.text or "").strip() and not any(
        [len(cell) or cell.tag not in CELLS or (cell.tail and not cell.tail.isspace()) for cell in row]
    )


def _holds_blocks(element: etree._Element) -> bool:
    """Whether an unknown element is one of blocks."""
    return len(element) > 0 and any(child.tag in HOLDERS for child in element)


def _end(parts: list[str]) -> str:
    """The last characters."""
    end = ""
    for part in reversed(parts):
        end = part[-NEAR:] + end
        if len(end) >= NEAR:
            break
    return end


def _is_fraction(element: etree._Element, text: str) -> bool:
    """Whether raised digits are the upper half of a fraction such as ½."""
    after = element.getnext()
    is_slash = (element.tail or "").strip() in ("/", "⁄")
    return text.strip().isdigit() and is_slash and after is not None and after.tag == "sub"


Enter = Callable[[_Page, etree._Element], bool]
ENTER: dict[str, Enter] = {
    "br": _Page._enter_break,
    **dict.fromkeys(HEADINGS, _Page._enter_heading),
    **dict.fromkeys(LISTS, _Page._enter_list),
    "li": _Page._enter_item,
    "table": _Page._enter_table,
    "tr": _Page._enter_row,
    **dict.fromkeys(CELLS, _Page._enter_cell),
    **dict.fromkeys(CODE, _Page._enter_code),
    **dict.fromkeys(("sup", "sub"), _Page._enter_script),
    **dict.fromkeys(FIELDS, _Page._enter_field),
    "button": _Page._enter_button,
    "nav": _Page._enter_nav,
    "dialog": _Page._enter_dialog,
    "summary": _Page._enter_summary,
    "q": _Page._quote,
}
LEAVE: dict[str, Callable[[_Page, etree._Element], object]] = {
    "dialog": _Page._leave_block,
    **dict.fromkeys(HEADINGS, _Page._leave_heading),
    **dict.fromkeys(LISTS, _Page._leave_list),
    "li": _Page._leave_item,
    "table": _Page._leave_table,
    "tr": _Page._leave_row,
    **dict.fromkeys(CELLS, _Page._leave_cell),
    **dict.fromkeys(CODE, _Page._leave_code),
    **dict.fromkeys(("sup", "sub"), _Page._leave_script),
    "summary": _Page._leave_summary,
    "q": _Page._quote,
}
