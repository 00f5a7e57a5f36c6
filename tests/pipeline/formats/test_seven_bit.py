"""Chinese, Japanese and Korean in seven bits are no ASCII."""

import pytest

from configs.errors import UndecodableError
from pipeline.formats.encoding import codec_of, decode, decode_pieces
from pipeline.formats.notes import Notes
from pipeline.formats.trail import Trail

JAPANESE = "議事録\n委員会は月曜日に集まり、採決を延期することに合意しました。ＡＢＣ word\n"
CHINESE = "委员会同意推迟表决到审计报告发布之后。\n"


def read(data: bytes, declared: str | None = None) -> tuple[str, Notes]:
    notes = Notes()
    return "".join(decode([data], codec_of(declared) if declared else None, notes)), notes


@pytest.mark.parametrize("declared", [None, "iso-2022-jp", "csISO2022JP"])
def test_japanese_is_known_by_its_escapes(declared: str | None) -> None:
    text, notes = read(("line\n" * 1000 + JAPANESE).encode("iso2022_jp"), declared)
    assert text == "line\n" * 1000 + JAPANESE
    assert notes.chosen_by == ("declared" if declared else "guessed")


def test_half_width_kana_are_read() -> None:
    assert read("ｶﾀｶﾅ 漢字".encode("iso2022_jp_ext"), "iso-2022-jp")[0] == "ｶﾀｶﾅ 漢字"


@pytest.mark.parametrize("declared", [None, "iso-2022-kr"])
def test_korean_is_read(declared: str | None) -> None:
    text = "위원회는 표결을 연기하기로 했다.\n"
    assert read(text.encode("iso2022_kr"), declared)[0] == text


@pytest.mark.parametrize("declared", [None, "hz-gb-2312", "HZ"])
def test_hz_is_read(declared: str | None) -> None:
    assert read(CHINESE.encode("hz"), declared)[0] == CHINESE


def test_chinese_in_iso_2022_is_refused_by_name() -> None:
    with pytest.raises(UndecodableError, match="ISO-2022-CN"):
        read(b"\x1b$)A\x0e5B\x0f\n")


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[31mERROR\x1b[0m it failed\x1b[K\n" * 20,
        "a = ~{ b }~ ~{x~} and ~{1~}\n" * 5,
        "\x1b(B plain \x1b(0lqk\x1b(B\n",
    ],
)
def test_terminal_colors_and_tildes_stay_ascii(text: str) -> None:
    assert read(text.encode()) == (text, Notes())


def test_reading_can_be_resumed_at_no_place_within() -> None:
    pieces = list(decode_pieces([b"plain\n", (JAPANESE * 3).encode("iso2022_jp"), b"\x1b$B5D\x1b(B\n"]))
    trail = Trail()
    assert "".join(trail.follow(pieces)) == "plain\n" + JAPANESE * 3 + "議\n"
    trail.advance(6)
    assert trail.offset == 6
    trail.advance(10)
    assert trail.offset is None
