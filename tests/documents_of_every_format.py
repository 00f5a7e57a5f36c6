"""Small documents in every format that is read, made by code, each with words that its reader sees."""

import base64
import io
import json
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

from tests import containers
from tests.pdf import pdf

SENTENCE = "The committee agreed to postpone the vote"
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
SLIDES = "http://schemas.openxmlformats.org/presentationml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
OPEN = "urn:oasis:names:tc:opendocument:xmlns"
OPEN_SPACES = " ".join(
    f'xmlns:{prefix}="{OPEN}:{name}:1.0"'
    for prefix, name in {
        **{"office": "office", "text": "text", "table": "table", "draw": "drawing", "presentation": "presentation"},
        **{"svg": "svg-compatible"},
    }.items()
)


def make_all(folder: Path) -> dict[str, str]:
    """Writes a document of every format; the words that its text must have, by its name."""
    everything = all_documents() | all_containers()
    for name, data in everything.items():
        (folder / name).write_bytes(data)
    return dict.fromkeys(everything, SENTENCE)


def all_documents() -> dict[str, bytes]:
    """By their names."""
    return {
        "plain.txt": f"{SENTENCE}.\n".encode(),
        "marked.md": f"# Minutes\n\n{SENTENCE}.\n".encode(),
        "program.py": f'"""{SENTENCE}."""\n'.encode(),
        "page.html": f"<!doctype html><title>Minutes</title><p>{SENTENCE}.</p>".encode(),
        "print.pdf": pdf(SENTENCE),
        "record.json": json.dumps({"title": "Minutes", "text": SENTENCE}).encode(),
        "table.csv": f'id,decision,amount\n1,"{SENTENCE}, too",10\n2,none,20\n'.encode(),
        "table.tsv": f"id\tdecision\n1\t{SENTENCE}\n".encode(),
        "letter.docx": docx(word_paragraph("Minutes", "Heading1") + word_paragraph(SENTENCE)),
        "talk.pptx": pptx([("Minutes", SENTENCE, "Speak slowly")]),
        "sums.xlsx": xlsx([["Decision", "Amount"], [SENTENCE, 12.5]]),
        "letter.odt": odt(f'<text:h text:outline-level="1">Minutes</text:h><text:p>{SENTENCE}.</text:p>'),
        "sums.ods": ods([["Decision", "Amount"], [SENTENCE, "12.5"]]),
        "talk.odp": odp("Minutes", SENTENCE),
        "book.epub": epub({"one.xhtml": f"<h1>Minutes</h1><p>{SENTENCE}.</p>"}),
        "memo.rtf": rtf(f"{SENTENCE}.\\par"),
        "message.eml": mail(SENTENCE),
        "archive.mbox": mbox([mail(SENTENCE), mail("Another message")]),
        "saved.mhtml": mhtml(f"<title>Minutes</title><p>{SENTENCE}.</p>"),
        "talk.vtt": f"WEBVTT\n\n00:01.000 --> 00:04.000\n<v Chair>{SENTENCE}.\n".encode(),
        "talk.srt": f"1\n00:00:01,000 --> 00:00:04,000\n<i>{SENTENCE}.</i>\n".encode(),
        "article.xml": jats("Minutes", f"<sec><title>Decisions</title><p>{SENTENCE}.</p></sec>"),
        "edition.tei.xml": f'<?xml version="1.0"?><TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><fileDesc>'
        f"<titleStmt><title>Minutes</title></titleStmt></fileDesc></teiHeader><text><body><p>{SENTENCE}.</p></body>"
        f"</text></TEI>".encode(),
        "notes.ipynb": notebook([("markdown", f"# Minutes\n{SENTENCE}."), ("code", "print(1)")]),
    }


def all_containers() -> dict[str, bytes]:
    """Archives and tables by their names, with one document in each."""
    page = {"page.html": all_documents()["page.html"]}
    row = {"id": ["one"], "text": [f"{SENTENCE}."], "title": ["Minutes"]}
    return {
        "papers.zip": containers.zip_of({"folder/letter.docx": all_documents()["letter.docx"], ".DS_Store": b"x"}),
        "pages.tar": containers.tar_of(page),
        "pages.tar.gz": containers.tar_of(page, "w:gz"),
        "rows.parquet": containers.parquet_of(row),
        "rows.arrow": containers.arrow_of(row),
        "rows.csv": f'id;text\none;"{SENTENCE}; and\nnothing else"\n'.encode(),
    }


def zipped(parts: dict[str, str | bytes]) -> bytes:
    """An archive; a part named `mimetype` is stored as it is, as the standards ask."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content, zipfile.ZIP_STORED if name == "mimetype" else None)
    return packed.getvalue()


def relations(*targets: tuple[str, str]) -> str:
    """Kinds and parts, with the ids rId1, rId2, ..."""
    entries = "".join(
        f'<Relationship Id="rId{number}" Type="{OFFICE}/relationships/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets, 1)
    )
    return f'<Relationships xmlns="{RELATIONS}">{entries}</Relationships>'


def core(title: str) -> str:
    return (
        '<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{escape(title)}</dc:title></cp:coreProperties>'
    )


def word_paragraph(text: str, style: str = "", more: str = "") -> str:
    named = f'<w:pStyle w:val="{style}"/>' if style else ""
    return f"<w:p><w:pPr>{named}{more}</w:pPr><w:r><w:t>{escape(text)}</w:t></w:r></w:p>"


def docx(body: str, title: str = "", **parts: str) -> bytes:
    """`parts` are more parts by their kinds: `footnotes`, `numbering`, `comments`; each the content of its root."""
    roots = {"styles": "styles", "numbering": "numbering", "footnotes": "footnotes", "comments": "comments"}
    styles = (
        '<w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="Clause"><w:name w:val="Clause"/><w:pPr><w:outlineLvl w:val="1"/>'
        '</w:pPr></w:style><w:style w:type="paragraph" w:styleId="Own"><w:name w:val="Own"/>'
        '<w:basedOn w:val="Heading1"/></w:style>'
    )
    given = {"styles": styles} | parts
    related = relations(*((kind, f"{kind}.xml") for kind in given))
    return zipped(
        {
            "[Content_Types].xml": "<Types/>",
            "_rels/.rels": relations(("officeDocument", "word/document.xml")),
            "docProps/core.xml": core(title),
            "word/document.xml": f'<w:document xmlns:w="{WORD}" xmlns:m="{OFFICE}/math"><w:body>{body}</w:body>'
            "</w:document>",
            "word/_rels/document.xml.rels": related,
            **{
                f"word/{kind}.xml": f'<w:{roots[kind]} xmlns:w="{WORD}">{given[kind]}</w:{roots[kind]}>'
                for kind in given
            },
        }
    )


def pptx(slides: list[tuple[str, str, str]], title: str = "", hidden: int = 0, more: str = "") -> bytes:
    """Slides with title, text and notes; the last `hidden` are not shown."""
    parts: dict[str, str | bytes] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations(("officeDocument", "ppt/presentation.xml")),
        "docProps/core.xml": core(title),
        "ppt/presentation.xml": f'<p:presentation xmlns:p="{SLIDES}" xmlns:r="{OFFICE}/relationships"><p:sldIdLst>'
        + "".join(f'<p:sldId id="{256 + n}" r:id="rId{n}"/>' for n in range(1, len(slides) + 1))
        + "</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": relations(
            *(("slide", f"slides/slide{n}.xml") for n in range(1, len(slides) + 1))
        ),
    }
    for number, (heading, text, said) in enumerate(slides, 1):
        show = ' show="0"' if number > len(slides) - hidden else ""
        shapes = _shape("title", heading) + _shape("body", text) + _shape("sldNum", "7") + more
        parts[f"ppt/slides/slide{number}.xml"] = _slide("sld", shapes, show)
        parts[f"ppt/slides/_rels/slide{number}.xml.rels"] = relations(
            ("notesSlide", f"../notesSlides/notes{number}.xml")
        )
        parts[f"ppt/notesSlides/notes{number}.xml"] = _slide("notes", _shape("body", said))
    return zipped(parts)


def _slide(name: str, shapes: str, more: str = "") -> str:
    tree = f"<p:cSld><p:spTree>{shapes}</p:spTree></p:cSld>"
    return f'<p:{name} xmlns:p="{SLIDES}" xmlns:a="{DRAWING}"{more}>{tree}</p:{name}>'


def _shape(kind: str, text: str) -> str:
    return (
        f'<p:sp><p:nvSpPr><p:nvPr><p:ph type="{kind}"/></p:nvPr></p:nvSpPr><p:txBody><a:p><a:r><a:t>'
        f"{escape(text)}</a:t></a:r></a:p></p:txBody></p:sp>"
    )


def xlsx(rows: list[list[object]], title: str = "", formats: dict[str, str] | None = None, hidden: str = "") -> bytes:
    """A sheet `Decisions`, with formats of numbers by cell, and a hidden one with a text."""
    from openpyxl import Workbook

    workbook = Workbook()
    workbook.properties.title = title
    sheet = workbook.active
    sheet.title = "Decisions"
    for row in rows:
        sheet.append(row)
    for cell, number_format in (formats or {}).items():
        sheet[cell].number_format = number_format
    if hidden:
        other = workbook.create_sheet("Other")
        other.append([hidden])
        other.sheet_state = "hidden"
    packed = io.BytesIO()
    workbook.save(packed)
    return packed.getvalue()


def open_document(kind: str, body: str, title: str = "") -> bytes:
    mimetype = f"application/vnd.oasis.opendocument.{kind}"
    root = kind if kind != "text" else "text"
    return zipped(
        {
            "mimetype": mimetype,
            "content.xml": f"<office:document-content {OPEN_SPACES}><office:body><office:{root}>{body}</office:{root}>"
            "</office:body></office:document-content>",
            "meta.xml": f'<office:document-meta {OPEN_SPACES} xmlns:dc="http://purl.org/dc/elements/1.1/"><office:meta>'
            f"<dc:title>{escape(title)}</dc:title></office:meta></office:document-meta>",
        }
    )


def odt(body: str, title: str = "") -> bytes:
    return open_document("text", body, title)


def ods(rows: list[list[str]]) -> bytes:
    cells = "".join(
        "<table:table-row>"
        + "".join(f"<table:table-cell><text:p>{escape(cell)}</text:p></table:table-cell>" for cell in row)
        + '<table:table-cell table:number-columns-repeated="16000"/></table:table-row>'
        for row in rows
    )
    empty = '<table:table-row table:number-rows-repeated="1048000"><table:table-cell/></table:table-row>'
    return open_document("spreadsheet", f'<table:table table:name="Decisions">{cells}{empty}</table:table>')


def odp(title: str, text: str) -> bytes:
    return open_document(
        "presentation",
        f'<draw:page draw:name="page1"><draw:frame presentation:class="title"><draw:text-box><text:p>{escape(title)}'
        f"</text:p></draw:text-box></draw:frame><draw:frame><draw:text-box><text:p>{escape(text)}</text:p>"
        "</draw:text-box></draw:frame></draw:page>",
    )


def epub(chapters: dict[str, str], toc: dict[str, str] | None = None, **more: str) -> bytes:
    """Chapters by their names; `toc` has the titles of those without a heading; `more` are parts of META-INF."""
    items = "".join(
        f'<item id="c{n}" href="{name}" media-type="application/xhtml+xml"/>' for n, name in enumerate(chapters)
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    points = "".join(
        f"<navPoint><navLabel><text>{label}</text></navLabel><content src='{name}#start'/></navPoint>"
        for name, label in (toc or {}).items()
    )
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
            "OEBPS/book.opf": '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
            "<metadata><dc:title>Minutes of a Year</dc:title><dc:creator>A. Person</dc:creator></metadata>"
            f'<manifest>{items}<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/></manifest>'
            f"<spine>{spine}</spine></package>",
            "OEBPS/toc.ncx": f'<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap>{points}</navMap></ncx>',
            **{
                f"OEBPS/{name}": f'<html xmlns="http://www.w3.org/1999/xhtml"><head/><body>{body}</body></html>'
                for name, body in chapters.items()
            },
            **{f"META-INF/{name}.xml": content for name, content in more.items()},
        }
    )


def rtf(body: str) -> bytes:
    return (
        r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fnil\fcharset0 Calibri;}{\f1\fnil\fcharset238 Arial CE;}}"
        r"{\*\generator Riched20;}\viewkind4\uc1\pard\f0 " + body + "}"
    ).encode("latin-1")


def mail(
    text: str, subject: str = "=?utf-8?q?Vote_postponed_=E2=80=93_caf=C3=A9?=", attached: dict[str, bytes] | None = None
) -> bytes:
    """A message with text, and attachments by their names."""
    head = (
        f"From: a.person@example.com\nTo: b.person@example.com\nSubject: {subject}\n"
        "Date: Mon, 02 Mar 2026 10:00:00 +0000\nMIME-Version: 1.0\nX-Spam-Score: 0\n"
    )
    body = f"Content-Type: text/plain; charset=utf-8\n\n{text}\n"
    if attached is None:
        return (head + body).encode()
    parts = [body] + [
        f'Content-Type: application/octet-stream; name="{name}"\nContent-Transfer-Encoding: base64\n'
        f'Content-Disposition: attachment; filename="{name}"\n\n{base64.encodebytes(data).decode()}'
        for name, data in attached.items()
    ]
    joined = "".join(f"--limit\n{part}\n" for part in parts)
    return f'{head}Content-Type: multipart/mixed; boundary="limit"\n\n{joined}--limit--\n'.encode()


def mbox(messages: list[bytes]) -> bytes:
    return b"".join(b"From a.person@example.com Mon Mar  2 10:00:00 2026\n" + each + b"\n" for each in messages)


def mhtml(page: str) -> bytes:
    return (
        "From: <Saved by Blink>\nSubject: Minutes\nMIME-Version: 1.0\n"
        'Content-Type: multipart/related; boundary="limit"\n\n'
        f"--limit\nContent-Type: text/html; charset=utf-8\n\n{page}\n"
        "--limit\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n--limit--\n"
    ).encode()


def jats(title: str, body: str, front: str = "", back: str = "") -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) Journal Archiving 1.2//EN" "JATS.dtd">\n'
        '<article xmlns:mml="http://www.w3.org/1998/Math/MathML"><front><article-meta>'
        f"<article-id>10.1/1</article-id><title-group><article-title>{title}</article-title></title-group>{front}"
        f"</article-meta></front><body>{body}</body><back>{back}</back></article>"
    ).encode()


def notebook(cells: list[tuple[str, str]], outputs: list[dict[str, object]] | None = None) -> bytes:
    """Cells by kind; code has the outputs."""
    made = [
        {"cell_type": kind, "source": source.splitlines(keepends=True)}
        | ({"outputs": outputs or []} if kind == "code" else {})
        for kind, source in cells
    ]
    metadata = {"language_info": {"name": "python"}}
    return json.dumps({"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}).encode()
