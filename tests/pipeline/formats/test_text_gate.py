"""Which parsed text can be read."""

import time

import pytest

from pipeline.formats.text_gate import judged

PROSE = "The committee met on Monday and agreed to postpone the vote until the auditors report. "


@pytest.mark.parametrize(
    ("text", "unmapped", "what"),
    [
        ("/g119/g107/g104 /g102/g114/g112 /C23/C17", 0, "names of glyphs"),
        ("(cid:12)(cid:13) (cid:99)", 0, "names of glyphs"),
        ("\ue001\ue002\ue003 \ue004\ue005\ue006 words", 0, "without a meaning"),
        ("\0a\0b\0c\0d\0e\0f", 0, "without a meaning"),
        ("\ufffd\ufffd\ufffd\ufffd\ufffd \ufffd\ufffd", 0, "without a meaning"),
        (PROSE.replace(" ", "") * 3, 0, "run together"),
        ("wkh frpplwwhh phw rq prqgdb dqg djuhhg wr srvwsrqh", 40, "codes of glyphs"),
        ("7KH FRPPLWWHH PHW RQ PRQGDB DQG GHFLGHG WKDW WKH EULGJH PXVW EH FORVHG " * 2, 0, "no words"),
    ],
)
def test_rubbish_is_called_by_what_it_is(text: str, unmapped: int, what: str) -> None:
    assert what in (judged(text, unmapped).rubbish or "")


@pytest.mark.parametrize(
    ("text", "unmapped"),
    [
        (PROSE, 0),
        (PROSE, len(PROSE)),
        ("委员会星期一开会，同意推迟投票。" * 10, 100),
        ("アンインストールについて、次の項目を削除して下さい。" * 3, 60),
        ("คณะกรรมการประชุมเมื่อวันจันทร์และตกลงที่จะเลื่อนการลงคะแนน" * 5, 0),
        (
            "Donaudampfschifffahrtsgesellschaft und Rindfleischetikettierungsgesetz sind lange Wörter, die es gibt. "
            + PROSE,
            0,
        ),
        ("1,234 5,678 | 9,012 " * 30, 0),
        ("250g 500ml 3kg " * 30 + "蒙牛桶装原味酸牛奶" * 30, 0),
        (PROSE * 20 + "\ue000", 0),
    ],
)
def test_what_can_be_read_is_not_refused(text: str, unmapped: int) -> None:
    assert judged(text, unmapped).rubbish is None


def test_what_is_certain_is_mended_and_the_rest_counted() -> None:
    found = judged("The of\ufb01ce\0 na\u00a8\u0131ve \uf0b7 item \ue123 \ufffd" + PROSE)
    assert found.text.startswith("The office naïve • item  \ufffd")
    assert (found.num_left_out, found.num_replaced) == (2, 1)


def test_judging_takes_time_in_proportion() -> None:
    start = time.process_time()
    for unit in ("/g1", "(cid:", "a", "¨", "\0", "一", PROSE):
        judged(unit * (1_000_000 // len(unit)), 10**6)
    assert time.process_time() - start < 10
