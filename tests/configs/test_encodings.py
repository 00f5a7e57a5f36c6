"""Labels mean what browsers take them for."""

import pytest
from pydantic import ValidationError

from configs.encodings import codec_of
from configs.settings import InputSettings


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("windows-874", "cp874"),
        ("TIS-620", "cp874"),
        (" iso-8859-9 ", "cp1254"),
        ("latin1", "cp1252"),
        ("gb2312", "gb18030"),
        ("x-mac-roman", "mac-roman"),
        ("x-mac-cyrillic", "mac-cyrillic"),
        ("iso-8859-8-i", "iso8859-8"),
        ("iso-2022-jp", "iso2022_jp_ext"),
        ("hz-gb-2312", "hz"),
        ("cp852", "cp852"),
        ("ibm037", "cp037"),
        ("iso8859_2", "iso8859-2"),
        ("mac_latin2", "mac-latin2"),
        ("utf-16be", "utf-16-be"),
    ],
)
def test_labels(label: str, codec: str) -> None:
    assert codec_of(label) == codec
    assert codec_of(codec) == codec
    assert InputSettings(sources=("unused",), encoding=label).encoding == label


@pytest.mark.parametrize("label", ["", "hex", "zip", "rot13", "utf-7", "iso-2022-cn", "nonsense", "charmap", "a\0b"])
def test_what_is_no_encoding_is_refused(label: str) -> None:
    assert codec_of(label) is None
    with pytest.raises(ValidationError, match="is no known encoding"):
        InputSettings(sources=("unused",), encoding=label)
