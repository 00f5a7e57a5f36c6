"""Labels of encodings, as settings and documents give them, and the codecs that they mean."""

import codecs

from webencodings import lookup

WIDER = {"gbk": "gb18030", "iso2022_jp": "iso2022_jp_ext"}
"""Codecs of the WHATWG's table for which Python has one that knows more characters."""
BEYOND_WHATWG = {
    **{"hz": "hz", "hz-gb-2312": "hz", "iso-2022-kr": "iso2022_kr", "csiso2022kr": "iso2022_kr", "johab": "johab"},
    **{"utf-32": "utf-32-le", "utf-32le": "utf-32-le", "utf-32be": "utf-32-be"},
    **{"x-mac-ce": "mac-latin2", "x-mac-centraleurroman": "mac-latin2", "x-mac-greek": "mac-greek"},
    **{"x-mac-turkish": "mac-turkish", "x-mac-romanian": "mac-romanian", "x-mac-icelandic": "mac-iceland"},
}
"""Labels that browsers do not know, or no longer do."""
OLD_CODE_PAGES = {
    *("cp437", "cp737", "cp775", "cp850", "cp852", "cp855", "cp857", "cp858", "cp860", "cp861", "cp862", "cp863"),
    *("cp864", "cp865", "cp869", "cp1125", "cp037", "cp273", "cp500", "cp875", "cp1026", "cp1140"),
}
"""Of DOS and of mainframes, also known as `ibm437` or `437`."""


def codec_of(label: str) -> str | None:
    """The name of Python's codec for an encoding's label or for the name of such a codec; None if it is unknown.

    Labels are those of the WHATWG's list and some older ones. Python knows more, some of which are not encodings of
    text: `hex`, `zip`.
    """
    label = label.strip().lower()
    if label in BEYOND_WHATWG:
        return BEYOND_WHATWG[label]
    if found := lookup(label):
        name = found.codec_info.name
        # The WHATWG's "replacement" stands for encodings that browsers refuse.
        return None if name == "replacement" else WIDER.get(name, name)
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        return None
    return name if name in KNOWN_CODECS else None


KNOWN_CODECS = {
    *BEYOND_WHATWG.values(),
    *OLD_CODE_PAGES,
    *(f"cp125{digit}" for digit in range(9)),
    *(f"iso8859-{part}" for part in range(1, 17) if part not in (11, 12)),
    *("utf-8", "utf-16-le", "utf-16-be", "cp866", "cp874", "koi8-r", "koi8-u", "mac-roman", "mac-cyrillic"),
    *("cp932", "euc_jp", "cp949", "gb18030", "gbk", "big5", "big5hkscs", "cp950", "iso2022_jp", "iso2022_jp_ext"),
}
"""Names of codecs, as the column `encoding` shows them."""
