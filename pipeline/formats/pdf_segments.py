"""The pieces of text on a page of a PDF, each with its place: characters of a line up to the next wide gap.

PDFium gives characters in the order in which they are drawn, and puts spaces and line ends between them. Order within a
piece is kept, since right-to-left text already is in the order of reading; the order of pieces is the layout's.
"""

import ctypes
import math
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.encoding import without_surrogates

HYPHEN = "\x02"
"""What PDFium makes of a hyphen at the end of a line."""
GAP = 0.8
"""Of the character height: where a piece ends. Wider than nearly all gaps between words of justified text."""
SHIFT = 0.7
"""Of the height: a line's characters, also exponents and indices, lie closer than this in the vertical."""
TWICE = 0.25
"""Of the height: a character drawn twice (to look bold) lies closer than this."""
COPY = 0.3
"""The same for a whole piece."""

SURROGATES, LAST_SURROGATE = 0xD800, 0xDFFF

FEW_CHARS, SAMPLED = 500, 8
"""Of a page with more characters, one in so many is asked whether its font has a map to Unicode."""

Boxes = NDArray[np.float32]


@dataclass
class Segment:
    """A piece of text and its box, in the direction of most of the page's text: x grows along lines, y upwards."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    is_field: bool = False
    """Whether it is the value of a form's field."""

    @property
    def size(self) -> float:
        """Height of its characters."""
        return self.y1 - self.y0

    @property
    def middle(self) -> float:
        return (self.y0 + self.y1) / 2


@dataclass(frozen=True)
class PageText:
    """What is drawn on a page."""

    segments: list[Segment]
    turned: list[str]
    """Lines in other directions than the page's, such as notes on the margin."""
    num_unmapped: int
    """Characters whose font says nothing of their meaning; the text has their codes."""
    angle: int
    """Of the text's direction, in quarter turns counterclockwise."""


def page_text(textpage: Any, bounds: tuple[float, float, float, float]) -> PageText:
    """Of a `PdfTextPage`, within the bounds that can be seen."""
    codes, boxes, unmapped = _characters(textpage)
    lines = [line for line in _lines(codes) if line.stop > line.start]
    angles = _angles(textpage, lines)
    angle = _most(angles, lines)
    boxes, bounds = _turned(boxes, bounds, angle)
    straight: list[slice] = []
    turned: list[slice] = []
    for line, turn in zip(lines, angles, strict=True):
        (straight if turn == angle and not _is_vertical(boxes[line]) else turned).append(line)
    segments = _segments(codes, boxes, straight)
    odd = [text for line in turned if (text := _joined(_decoded(codes[line])).strip())]
    return PageText(_once(_within(segments, bounds)), list(dict.fromkeys(odd)), unmapped, angle)


def turned_box(box: tuple[float, float, float, float], angle: int) -> tuple[float, float, float, float]:
    """A box (x0, y0, x1, y1) on the page, as segments have it."""
    x0, y0, x1, y1 = box
    for _ in range(angle):
        x0, y0, x1, y1 = y0, -x1, y1, -x0
    return x0, y0, x1, y1


@cache
def _functions() -> tuple[Callable[..., Any], ...]:
    """Unicode, box, lack of a map, and angle of a character, called without releasing the lock of the interpreter: that
    would take longer than they do."""
    import pypdfium2.raw as pdfium

    page, index, place = ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p

    def quick(function: Any, *types: Any) -> Callable[..., Any]:
        address = ctypes.cast(function, ctypes.c_void_p).value
        assert address is not None
        return ctypes.PYFUNCTYPE(*types)(address)

    return (
        quick(pdfium.FPDFText_GetUnicode, ctypes.c_uint, page, index),
        quick(pdfium.FPDFText_GetLooseCharBox, ctypes.c_int, page, index, place),
        quick(pdfium.FPDFText_HasUnicodeMapError, ctypes.c_int, page, index),
        quick(pdfium.FPDFText_GetCharAngle, ctypes.c_float, page, index),
    )


def _characters(textpage: Any) -> tuple[NDArray[np.uint32], Boxes, int]:
    """Code, box (x0, y0, x1, y1) of every character, and how many lack a map to Unicode."""
    import pypdfium2.raw as pdfium

    _, box, lacks_map, _ = _functions()
    page = ctypes.cast(textpage.raw, ctypes.c_void_p)
    count = max(textpage.count_chars(), 0)
    codes = _codes(textpage, page, count)
    for index in np.flatnonzero((codes < 32) & (codes != 10) & (codes != 13)).tolist():
        if codes[index] != ord(HYPHEN) or pdfium.FPDFText_IsHyphen(textpage, index) != 1:
            codes[index] = 1 if _has_ink(textpage, index) else 32
    boxes = np.zeros((count, 4), np.float32)
    places = range(boxes.ctypes.data, boxes.ctypes.data + boxes.nbytes, 16)
    # Runs through the calls without a step of the interpreter for each.
    deque(map(box, repeat(page), range(count), places), maxlen=0)
    # PDFium gives left, top, right, bottom.
    boxes = boxes[:, [0, 3, 2, 1]]
    boxes[~np.isfinite(boxes).all(axis=1)] = 0
    sample = range(0, count, 1 if count < FEW_CHARS else SAMPLED)
    lacking = list(map(lacks_map, repeat(page), sample)).count(1)
    return codes, boxes, lacking * sample.step


def _codes(textpage: Any, page: ctypes.c_void_p, count: int) -> NDArray[np.uint32]:
    """In Unicode: from the whole text, unless it lacks characters or has some that are two."""
    import pypdfium2.raw as pdfium

    unicode = _functions()[0]
    buffer = np.zeros(2 * count + 1, np.uint16)
    written = pdfium.FPDFText_GetText(textpage, 0, count, buffer.ctypes.data_as(ctypes.POINTER(ctypes.c_ushort)))
    codes = buffer[: max(written - 1, 0)].astype(np.uint32)
    # Hyphens at line ends have another code there.
    unsure = np.flatnonzero(codes >= SURROGATES).tolist()
    if len(codes) != count or (codes[unsure] <= LAST_SURROGATE).any():
        codes, unsure = np.zeros(count, np.uint32), list(range(count))
    codes[unsure] = list(map(unicode, repeat(page), unsure))
    codes[codes > sys.maxunicode] = ord("\ufffd")
    return codes


def _has_ink(textpage: Any, index: int) -> bool:
    """Whether anything is drawn for a character: if not, it is a space, whatever its code."""
    left, bottom, right, top = textpage.get_charbox(index)
    return bool(right > left and top > bottom)


def _lines(codes: NDArray[np.uint32]) -> Iterator[slice]:
    """Of PDFium; a hyphen ends its line without a line end."""
    start = 0
    ends = np.flatnonzero((codes == 10) | (codes == 13) | (codes == ord(HYPHEN)))
    for end, is_hyphen in zip(ends.tolist(), (codes[ends] == ord(HYPHEN)).tolist(), strict=True):
        yield slice(start, end + is_hyphen)
        start = end + 1
    yield slice(start, len(codes))


def _angles(textpage: Any, lines: list[slice]) -> list[int | None]:
    """Of lines, in quarter turns; None if a line is askew."""
    page, angle = ctypes.cast(textpage.raw, ctypes.c_void_p), _functions()[3]
    # PDFium's angles are clockwise.
    turns = [-angle(page, (line.start + line.stop) // 2) / (math.pi / 2) for line in lines]
    return [round(turn) % 4 if math.isfinite(turn) and abs(turn - round(turn)) < 0.1 else None for turn in turns]


def _most(angles: list[int | None], lines: list[slice]) -> int:
    """The direction of most characters."""
    counts = [0, 0, 0, 0]
    for angle, line in zip(angles, lines, strict=True):
        if angle is not None:
            counts[angle] += line.stop - line.start
    return counts.index(max(counts))


def _turned(
    boxes: Boxes, bounds: tuple[float, float, float, float], angle: int
) -> tuple[Boxes, tuple[float, float, float, float]]:
    x0, y0, x1, y1 = boxes.T
    for _ in range(angle):
        x0, y0, x1, y1 = y0, -x1, y1, -x0
    return np.stack([x0, y0, x1, y1], axis=1), turned_box(bounds, angle)


def _segments(codes: NDArray[np.uint32], boxes: Boxes, lines: list[slice]) -> list[Segment]:
    """Of all lines at once, which is many times faster than one by one."""
    numbers = np.zeros(len(codes), np.intp)
    for number, line in enumerate(lines, 1):
        numbers[line] = number
    # Spaces have no place that can be relied on: they count as text alone.
    blank = _is_blank(codes)
    solid = np.flatnonzero(~blank & (numbers > 0))
    solid = solid[_not_again(codes[solid], boxes[solid], numbers[solid])]
    if not len(solid):
        return []
    at = boxes[solid]
    starts = np.flatnonzero(_begin(at, numbers[solid]))
    ends = np.append(starts[1:], len(solid))
    # Where each piece is in the text of what is left.
    kept = blank
    kept[solid] = True
    text, place = _decoded(codes[kept]), np.cumsum(kept) - 1
    first, last = place[solid[starts]].tolist(), place[solid[ends - 1]].tolist()
    x0, x1 = np.minimum.reduceat(at[:, 0], starts).tolist(), np.maximum.reduceat(at[:, 2], starts).tolist()
    y0, y1 = _usual(at[:, 1], starts, ends), _usual(at[:, 3], starts, ends)
    texts = [_joined(text[start : end + 1]) for start, end in zip(first, last, strict=True)]
    return list(map(Segment, texts, x0, y0, x1, y1))


def _begin(at: Boxes, numbers: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which characters begin a piece: the first of a line, and those far from the one before."""
    height = np.maximum(at[:, 3] - at[:, 1], 1e-3)
    tall = np.maximum(height[1:], height[:-1])
    apart = np.maximum(at[1:, 0] - at[:-1, 2], at[:-1, 0] - at[1:, 2])
    shift = np.abs(at[1:, 3] + at[1:, 1] - at[:-1, 3] - at[:-1, 1]) / 2
    begin = np.ones(len(at), bool)
    begin[1:] = (apart > GAP * tall) | (shift > SHIFT * tall) | (numbers[1:] != numbers[:-1])
    return begin


def _usual(values: NDArray[np.float32], starts: NDArray[np.intp], ends: NDArray[np.intp]) -> list[float]:
    """The middle one of each piece, so that an exponent does not make a line tall."""
    usual = np.minimum.reduceat(values, starts)
    for place in np.flatnonzero(np.maximum.reduceat(values, starts) > usual).tolist():
        piece = np.sort(values[starts[place] : ends[place]])
        usual[place] = piece[len(piece) // 2]
    return usual.tolist()


def _is_blank(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    return ((codes <= 32) & (codes != ord(HYPHEN))) | (codes == 160)


def _not_again(codes: NDArray[np.uint32], boxes: Boxes, numbers: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which characters are not the same again in nearly the same place of a line."""
    new = np.ones(len(codes), bool)
    twice = np.flatnonzero((codes[1:] == codes[:-1]) & (numbers[1:] == numbers[:-1]))
    first, second = boxes[twice], boxes[twice + 1]
    near = TWICE * np.maximum(second[:, 3] - second[:, 1], 1e-3)
    same = (np.abs(second - first)[:, :2] < near[:, None]).all(axis=1)
    # A narrow letter may stand twice: "ll".
    same &= np.abs(second[:, 0] - first[:, 0]) < 0.5 * (first[:, 2] - first[:, 0])
    new[twice[same] + 1] = False
    return new


def _is_vertical(boxes: Boxes) -> bool:
    """Whether characters stand one below another, as in Japanese: such lines stay in the order in which they are
    drawn."""
    if len(boxes) < 3 or abs(boxes[-1, 0] - boxes[0, 0]) > abs(boxes[-1, 1] - boxes[0, 1]):
        return False
    boxes = boxes[boxes[:, 3] > boxes[:, 1]]
    if len(boxes) < 3:
        return False
    steps = np.abs(np.diff(boxes, axis=0))
    size = float(np.median(boxes[:, 3] - boxes[:, 1]))
    return bool(np.median(steps[:, 0]) < 0.2 * size and np.median(steps[:, 1]) > 0.5 * size)


def _decoded(codes: NDArray[np.uint32]) -> str:
    """A character for each code, surrogates among them."""
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def _joined(text: str) -> str:
    return text if text.isascii() else without_surrogates(text)


def _within(segments: list[Segment], bounds: tuple[float, float, float, float]) -> list[Segment]:
    """Those that can be seen. All of them if none could: then the bounds are wrong."""
    x0, y0, x1, y1 = bounds
    seen = [one for one in segments if one.x1 > x0 and one.x0 < x1 and one.y1 > y0 and one.y0 < y1]
    return seen or segments


def _once(segments: list[Segment]) -> list[Segment]:
    """Without those drawn again in nearly the same place."""
    if len({one.text for one in segments}) == len(segments):
        return segments
    places: dict[str, list[Segment]] = {}
    kept = []
    for one in segments:
        earlier = places.setdefault(one.text, [])
        near = COPY * max(one.size, 1e-3)
        if not any(abs(one.x0 - other.x0) < near and abs(one.y0 - other.y0) < near for other in earlier[-8:]):
            earlier.append(one)
            kept.append(one)
    return kept
