"""PDFs with text on their pages, and those that never end."""

import io
import zlib
from collections.abc import Sequence

import pypdf
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

PAGE = (
    b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 3 0 R"
    b"/Resources<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>"
)

FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>"


def pdf(*pages: str, title: str | None = None, password: str | None = None) -> bytes:
    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject(f"/{key}"): NameObject(f"/{value}")
            for key, value in {"Type": "Font", "Subtype": "Type1", "BaseFont": "Helvetica"}.items()
        }
    )
    for text in pages:
        page = writer.add_blank_page(300, 300)
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 10 100 Td ({text}) Tj ET".encode() if text else b"")
        page[NameObject("/Contents")] = writer._add_object(stream)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
    if title:
        writer.add_metadata({"/Title": title})
    if password is not None:
        writer.encrypt(password, "owner", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def operators(count: int, operator: bytes = b"q Q ", num_pages: int = 1) -> bytes:
    """Pages of so many operators each, in a few bytes."""
    content = zlib.compress(b"BT /F1 9 Tf (a) Tj " + operator * (count // 2) + b"ET")
    pages = range(4, 4 + num_pages)
    return _written(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/Kids[%s]>>" % (num_pages, b" ".join(b"%d 0 R" % number for number in pages)),
        b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(content), content),
        *[PAGE] * num_pages,
    )


def _written(*objects: bytes) -> bytes:
    """A file of numbered objects, the first of which is the catalog."""
    data, places = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer<</Root 1 0 R/Size %d>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(data))
    return data + b"xref\n0 %d\n0000000000 65535 f \n%s%s" % (len(objects) + 1, table, trailer)


Placed = tuple[float, float, float, str]
"""x, y, size and text; the page is 600 by 800."""


def drawn(
    *pages: list[Placed], more: bytes = b"", annotations: Sequence[Sequence[bytes]] = (), font: bytes = FONT
) -> bytes:
    """Text at places. `more` goes into the catalog; `annotations` are dictionaries of each page."""
    objects = [b"<</Type/Catalog/Pages 2 0 R%s>>" % more, b"", font]
    kids = []
    for number, page in enumerate(pages):
        content = "".join(f"BT /F1 {size} Tf 1 0 0 1 {x} {y} Tm ({text}) Tj ET\n" for x, y, size, text in page)
        notes = b"".join(annotations[number]) if number < len(annotations) else b""
        objects.append(_stream(content.encode("latin-1")))
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents %d 0 R/Resources<</Font<</F1 3 0 R>>>>"
            b"/Annots[%s]>>" % (len(objects), notes)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(kids), b" ".join(kids))
    return _written(*objects)


def picture(rows: Sequence[bytes]) -> bytes:
    """A page that is a picture in gray."""
    image = b"<</Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceGray/BitsPerComponent 8" % (
        len(rows[0]),
        len(rows),
    )
    return _written(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 200]/Contents 4 0 R/Resources<</XObject<</I 5 0 R>>>>>>",
        _stream(b"600 0 0 200 0 0 cm /I Do"),
        _stream(b"".join(rows), image),
    )


def _stream(content: bytes, start: bytes = b"<<") -> bytes:
    packed = zlib.compress(content)
    return b"%s/Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (start, len(packed), packed)
