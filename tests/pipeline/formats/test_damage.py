"""A few bad bytes lose no document, and where the text stands in it is still known."""

import pytest

from configs.errors import UndecodableError
from configs.settings import InputSettings
from pipeline.formats.encoding import decode, decode_pieces
from pipeline.formats.notes import Notes
from pipeline.formats.trail import Trail

LINE = "Pompe à eau démarrée à 10 h — débit 3 m³.\r\n"
STRICT = InputSettings(sources=("unused",), errors="strict")


def read(data: bytes, settings: InputSettings | None = None) -> tuple[str, list[str]]:
    notes = Notes()
    return "".join(decode([data], None, notes, settings)), notes.warnings


def test_one_bad_byte_is_replaced_and_told() -> None:
    good = (LINE * 200).encode()
    text, warnings = read(good + b"a\xffb" + good)
    assert text == (LINE * 200 + "a\ufffdb" + LINE * 200).replace("\r", "")
    assert warnings == ["1 byte is not valid UTF-8 and was replaced."]
    with pytest.raises(UndecodableError, match=f"byte {len(good) + 1} is not valid UTF-8"):
        read(good + b"a\xffb" + good, STRICT)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_log_may_end_within_a_character(cut: int) -> None:
    text, warnings = read((LINE * 5).encode() + "🙂".encode()[:-cut])
    assert text == LINE.replace("\r", "") * 5 + "\ufffd" * (4 - cut)
    assert len(warnings) == 1


def test_a_block_of_nuls_is_left_out() -> None:
    text, warnings = read(b"line\n" * 1000 + bytes(512) + b"line\n" * 1000)
    assert (text, warnings) == ("line\n" * 2000, ["512 NUL bytes were left out."])
    with pytest.raises(UndecodableError, match="a NUL about 5000 characters after byte 0"):
        read(b"line\n" * 1000 + bytes(512) + b"line\n" * 1000, STRICT)


@pytest.mark.parametrize(
    "data",
    [
        LINE.encode() * 20 + b"\xff" * 5,
        (LINE.encode() * 3 + b"\xff") * 30,
        b"line\n\0" * 1000,
        b"short\0",
        bytes(100_000) + b"some words",
    ],
)
def test_more_damage_is_no_text(data: bytes) -> None:
    with pytest.raises(UndecodableError):
        read(data)


def test_a_document_that_turns_bad_late_is_refused_there() -> None:
    good = (LINE * 500).encode()
    pieces = decode_pieces([good, good, b"\xfe" * 500, good])
    assert [next(pieces).text for _ in range(2)] == [LINE.replace("\r", "") * 500] * 2
    with pytest.raises(UndecodableError, match=f"byte {2 * len(good)} is not valid UTF-8"):
        next(pieces)


def test_a_bad_byte_in_ascii_does_not_make_it_another_encoding() -> None:
    parts = [b"some words\n" * 500 + b"\xff\n", LINE.encode() * 100]
    assert "".join(decode(parts)) == "some words\n" * 500 + "\ufffd\n" + LINE.replace("\r", "") * 100


@pytest.mark.parametrize("encoding", ["utf-8", "cp932", "utf-16-le"])
def test_reading_goes_on_from_every_place_of_a_damaged_document(encoding: str) -> None:
    line = "吾輩は猫である。名前はまだ無い。どこで生れたか、とんと見当がつかぬ。\r\n"
    bad = {"utf-8": b"\xff", "cp932": b"\x85\x39", "utf-16-le": b"\x00\xdc"}[encoding]
    data = (line * 30).encode(encoding) + bad + (line * 30).encode(encoding)
    settings = InputSettings(sources=("unused",), encoding=encoding if encoding != "utf-16-le" else "utf-16")
    parts = [data[start : start + 1001] for start in range(0, len(data), 1001)]
    trail = Trail()
    text = "".join(trail.follow(decode_pieces(parts, settings=settings)))
    assert text.count("\ufffd") == (2 if encoding == "utf-16-le" else 1)
    known = 0
    for place in range(1, len(text)):
        trail.advance(1)
        if trail.offset is not None:
            known += 1
            resumed = decode_pieces([data[trail.offset :]], None, trail.offset, trail.encoding, settings=settings)
            assert "".join(piece.text for piece in resumed) == text[place:]
    assert known > len(text) / 2
    assert known == len(text) - 1 or encoding != "utf-8"
