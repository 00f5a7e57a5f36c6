"""Undeclared encodings are guessed right, or the document is refused with what it might be."""

import pytest

from configs.errors import UndecodableError
from configs.settings import InputSettings
from pipeline.formats import detection
from pipeline.formats.encoding import decode
from pipeline.formats.notes import Notes

PROSE = {
    "cs": "Příliš žluťoučký kůň úpěl ďábelské ódy, když výbor odložil hlasování. Účetní zprávu podepíše šéf.",
    "pl": "Komisja zebrała się w poniedziałek i zgodziła się odłożyć głosowanie. Źle się stało, że ktoś żądał więcej.",
    "hu": "A bizottság hétfőn ülésezett, és úgy döntött, hogy elhalasztja a szavazást. Az elnök jegyzőkönyvet írt.",
    "tr": "Kurul pazartesi günü toplandı ve denetçiler raporunu verene kadar oylamayı erteledi; başkan imzaladı.",
    "ru": "Комитет собрался в понедельник и решил отложить голосование до отчёта ревизора. Председатель подписал всё.",
    "uk": "Комітет зібрався в понеділок і погодився відкласти голосування до звіту ревізора. Її підписав голова.",
    "el": "Η επιτροπή συνεδρίασε τη Δευτέρα και συμφώνησε να αναβάλει την ψηφοφορία μέχρι την έκθεση των ελεγκτών.",
    "he": "הוועדה התכנסה ביום שני והסכימה לדחות את ההצבעה עד לקבלת דוח המבקרים. היושב ראש חתם על הפרוטוקול.",
    "ar": "اجتمعت اللجنة يوم الاثنين ووافقت على تأجيل التصويت حتى صدور تقرير المدققين ووقع الرئيس على المحضر.",
    "th": "คณะกรรมการประชุมเมื่อวันจันทร์และตกลงเลื่อนการลงคะแนนออกไปจนกว่าผู้สอบบัญชีจะรายงาน ประธานลงนามในบันทึก",
    "lt": "Komitetas susirinko pirmadienį ir sutiko atidėti balsavimą, kol auditoriai pateiks ataskaitą, šį kartą.",
    "de": "Der Ausschuß beschloß, die Abstimmung zu verschieben, bis die Prüfer über die Größe der Lücke berichten.",
    "fr": "Le comité s’est réuni lundi et a décidé de différer le vote jusqu’à ce que les vérificateurs aient achevé.",
    "ja": "委員会は月曜日に集まり、監査人の報告があるまで採決を延期することに合意しました。議長が議事録に署名した。",
    "zh": "委员会于星期一开会，同意将表决推迟到审计报告发布之后。会议记录由主席签署，并分发给各位委员。",
    "ko": "위원회는 월요일에 모여 감사인의 보고가 나올 때까지 표결을 연기하기로 했다. 의장이 회의록에 서명하였다.",
}
ENCODINGS = {
    **dict.fromkeys(("cs", "pl", "hu"), ("cp1250", "iso8859_2", "mac_latin2")),
    "tr": ("cp1254", "iso8859_9"),
    "ru": ("cp1251", "koi8_r", "iso8859_5", "cp866", "cp855", "mac_cyrillic"),
    "uk": ("cp1251", "koi8_u"),
    "el": ("cp1253", "iso8859_7"),
    "he": ("cp1255", "iso8859_8"),
    "ar": ("cp1256",),
    "th": ("cp874",),
    "lt": ("cp1257",),
    "de": ("cp1252", "mac_roman", "cp850"),
    "fr": ("cp1252", "mac_roman"),
    "ja": ("cp932", "euc_jp", "iso2022_jp", "utf-16-le", "utf-16-be"),
    "zh": ("gb18030",),
    "ko": ("cp949", "iso2022_kr"),
}


@pytest.mark.parametrize(
    ("language", "encoding"), [(language, encoding) for language in ENCODINGS for encoding in ENCODINGS[language]]
)
def test_prose_in_its_encodings_is_read(language: str, encoding: str) -> None:
    text = (PROSE[language] + "\n") * 4
    notes = Notes()
    assert "".join(decode([text.encode(encoding)], None, notes)) == text
    assert notes.chosen_by == "guessed"


@pytest.mark.parametrize("language", PROSE)
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_encodings_need_no_mark(language: str, encoding: str) -> None:
    text = (PROSE[language] + "\n") * 4
    assert "".join(decode([text.encode(encoding)])) == text


@pytest.mark.parametrize(
    "text", ["Naïve café", "un café", "The price is £5 – “cheap”, they said.", "word " * 9999 + "é"]
)
def test_a_few_signs_beyond_ascii_are_western(text: str) -> None:
    assert "".join(decode([text.encode("cp1252")])) == text


def test_a_few_words_decide_in_a_text_that_is_mostly_english() -> None:
    text = "The committee met on Monday and agreed to defer the vote until the auditors report.\n" * 200
    text += f"One member wrote: {PROSE['ja']} and another: {PROSE['ja']}\n" + text
    assert "".join(decode([text.encode("cp932")])) == text


@pytest.mark.parametrize(
    "sample",
    [
        "El niño".encode("cp1252"),
        "Größe".encode("mac_roman") + b" and more words in plain English",
        "Žluť a kůň".encode("cp852"),
        "委員會同意延後表決".encode()[1:] * 3,
        bytes(range(128, 256)),
        b"\xff" * 50,
        b"\x80\x81\x82\x83" * 20,
    ],
)
def test_what_is_not_clear_is_no_guess(sample: bytes) -> None:
    assert detection.guess(sample).encoding is None


def test_candidates_are_named() -> None:
    with pytest.raises(UndecodableError, match=r"whether it is cp1252 or .*; say it with input\.encoding"):
        "".join(decode(["El niño".encode("cp1252")]))
    settings = InputSettings(sources=("unused",), encoding="latin1")
    assert "".join(decode(["El niño".encode("cp1252")], settings=settings)) == "El niño"


def test_mainframe_text_is_read_or_refused_by_name() -> None:
    plain = "The committee met on Monday and agreed to defer the vote until the auditors report.\n" * 5
    assert "".join(decode([plain.encode("cp037")])) == plain
    notes = Notes()
    settings = InputSettings(sources=("unused",), encoding="cp037")
    bracketed = plain.replace("Monday", "Monday [!]")
    with pytest.raises(UndecodableError, match=r"cp500 or cp037|cp037 or cp500|cp1140"):
        "".join(decode([bracketed.encode("cp037")]))
    assert "".join(decode([bracketed.encode("cp037")], None, notes, settings)) == bracketed
    assert (notes.encoding, notes.chosen_by) == ("cp037", "set")
