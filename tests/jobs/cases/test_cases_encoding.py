"""Cases of encodings, damage and compression that were once read wrong: what must be in their text, or in the error."""

import pytest

ENGLISH, GERMAN, RUSSIAN = "The committee met on Monday", "Der Ausschuß trat", "Комитет собрался в понедельник"
CZECH, POLISH, TURKISH = "pondělí", "zgodziła się", "denetçiler"
JAPANESE = "委員会は月曜日に集まり、"
READ = {
    "04-iso2022jp": {"hz.html": "委员会同意推迟表决。", "minutes.html": JAPANESE, "minutes.txt": JAPANESE},
    "05-declared": {
        **{"big5.html": "委員會同意延後表決", "euc-kr.html": "위원회는 표결을 연기 똠방각하"},
        **{"gb2312.html": "鎔基先生同意推迟表决。", "iso-8859-1.html": "“smart” – quotes €5"},
        **{"iso-8859-8-i.html": "הוועדה התכנסה", "iso-8859-9.html": "toplandı “evet”"},
        **{"macintosh.html": "comité s’est réuni à", "shift_jis.html": "①番の議案は髙橋氏"},
        **{"tis-620.html": "คณะกรรมการประชุม “ครับ”", "windows-874.html": "คณะกรรมการประชุม", "unicode.html": "café"},
        **{
            "utf-8.html": "café",
            "utf16-bom.html": "café.",
            "utf16le-nobom.html": "café.",
            "windows-31j.html": JAPANESE,
        },
        **{"x-gbk.html": "委员会同意推迟表决。", "x-mac-roman.html": "comité s’est réuni à", "x-sjis.html": JAPANESE},
    },
    "06-compress": dict.fromkeys(
        (
            *("DOC.TXT.GZ", "a.txt.bz2", "a.txt.xz", "doc.gz", "doc.txt", "doc2.ZST", "long31.txt.zst", "multi.txt.gz"),
            *("notreally.txt.gz", "plain_gz.txt", "pz.txt.zst", "pz_nosuffix.txt", "skipmid.txt.zst", "zeropad.txt.gz"),
        ),
        ENGLISH,
    ),
    "10-encoding": {
        **{"ansi-log.txt": "\x1b[32mINFO", "ar-cp1256.txt": "اجتمعت اللجنة", "cue-short.txt": "Группа крови"},
        **{"cz-cp1250.txt": CZECH, "cz-iso2.txt": CZECH, "de-cp437.txt": GERMAN, "de-latin1.txt": GERMAN},
        **{"de-macroman.txt": GERMAN, "el-cp1253.txt": "Η επιτροπή συνεδρίασε", "el-iso7.txt": "Η επιτροπή συνεδρίασε"},
        **{"en-cp1252-one.txt": "£5 – “cheap”.", "en-ebcdic.txt": ENGLISH, "en-utf16-bom.txt": ENGLISH},
        **{"en-utf16be-nobom.txt": ENGLISH, "en-utf16le-nobom.txt": ENGLISH, "fr-cp1252.txt": "Le comité s’est réuni"},
        **{"fr-macroman.txt": "Le comité s’est réuni", "he-cp1255.txt": "הוועדה התכנסה", "ja-euc.txt": JAPANESE},
        **{
            "ja-jis.txt": JAPANESE,
            "ja-sjis.txt": JAPANESE,
            "ja-utf16-bom.txt": JAPANESE,
            "ko-cp949.txt": "위원회는 월요일에",
        },
        **{"log-one-bad.txt": "café", "nul-log.txt": ENGLISH, "pl-cp1250.txt": POLISH, "pl-iso2.txt": POLISH},
        **{"ru-cp1251.txt": RUSSIAN, "ru-cp866.txt": RUSSIAN, "ru-iso5.txt": RUSSIAN, "ru-koi8.txt": RUSSIAN},
        **{"ru-maccyr.txt": RUSSIAN, "ru-short.txt": "Счёт №5 от 3 мая.", "ru-utf16-nobom.txt": RUSSIAN},
        **{"srt-pl.txt": "Dzień", "th-tis620.txt": "คณะกรรมการประชุม", "tr-cp1254.txt": TURKISH},
        **{"uk-cp1251.txt": "Комітет зібрався", "uk-koi8u.txt": "Комітет зібрався", "utf8-bom.txt": RUSSIAN},
        **{"utf8-one-bad.txt": JAPANESE, "utf8-trunc.txt": JAPANESE, "zh-gb18030.txt": "委员会于星期一开会"},
    },
    "19-badbyte": {
        "cut-at-end.log": "Pompe à eau démarrée",
        "nul-block.log": "The pump ran all night",
        "utf8-with-one-bad-byte.log": "Pompe à eau démarrée",
    },
}
REFUSED = {
    "06-compress/cut.txt.gz": "the file is cut short",
    "06-compress/trail.txt.gz": "damaged after 58000 bytes",
    "06-compress/empty.txt.gz": "empty",
    "06-compress/emptycontent.txt.gz": "empty",
}
WARNED = {
    "10-encoding/nul-log.txt": "64 NUL bytes were left out.",
    "10-encoding/utf8-trunc.txt": "2 bytes are not valid UTF-8 and were replaced.",
    "10-encoding/utf8-one-bad.txt": "2 bytes are not valid UTF-8 and were replaced.",
    "19-badbyte/cut-at-end.log": "1 byte is not valid UTF-8 and was replaced.",
    "19-badbyte/nul-block.log": "512 NUL bytes were left out.",
    "19-badbyte/utf8-with-one-bad-byte.log": "1 byte is not valid UTF-8 and was replaced.",
}


@pytest.mark.parametrize(("folder", "name"), [(folder, name) for folder in READ for name in READ[folder]])
def test_what_can_be_read_is_read(case, folder: str, name: str) -> None:
    shown = case(f"{folder}/{name}")
    assert READ[folder][name] in shown["text"]
    said = WARNED.get(f"{folder}/{name}")
    assert shown["warnings"] == ([said] if said else [])


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_says_why(case, name: str) -> None:
    assert REFUSED[name] in case(name)["error_message"]
