import base64

import pytest

from configs.errors import EncryptedError
from tests.documents_of_every_format import docx, mail, mbox, mhtml, word_paragraph, xlsx
from tests.pdf import pdf
from tests.pipeline.formats.reading import read

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
HEAD = "From: a@x.example\nMIME-Version: 1.0\nSubject: Vote\n"


def multipart(kind: str, *parts: str, head: str = HEAD) -> bytes:
    joined = "".join(f"--limit\n{part}\n" for part in parts)
    return f'{head}Content-Type: multipart/{kind}; boundary="limit"\n\n{joined}--limit--\n'.encode()


def plain(text: str, more: str = "") -> str:
    return f"Content-Type: text/plain; charset=utf-8{more}\n\n{text}"


def html(body: str, charset: str = "utf-8") -> str:
    return f"Content-Type: text/html; charset={charset}\n\n<html><body>{body}</body></html>"


def test_headers_are_decoded_and_others_left_out() -> None:
    title, lines, warnings = read("a.eml", mail("Dear all"))
    assert title == "Vote postponed – café" and warnings == []
    assert lines == [
        *("From: a.person@example.com", "To: b.person@example.com", "Date: Mon, 02 Mar 2026 10:00:00 +0000"),
        *("Subject: Vote postponed – café", "Dear all"),
    ]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"=?iso-8859-2?Q?P=F8=EDli=B9?=", "Příliš"),
        (b"=?utf-8?b?w6k=?= =?utf-8?b?w6k=?=", "éé"),
        (b"=?gb2312?B?xOO6ww==?= plain", "你好 plain"),
        ("Café".encode(), "Café"),
        ("Café".encode("latin-1"), "Café"),
        (b"folded\n over lines", "folded over lines"),
        (b"=?nonsense?Q?caf=C3=A9?=", "café"),
        (b"=?utf-8?b?!!!?= x", "x"),
    ],
)
def test_words_in_headers_are_decoded_whatever_their_alphabet(raw: bytes, expected: str) -> None:
    title = read("a.eml", b"From: a@x.example\nMIME-Version: 1.0\nDate: today\nSubject: " + raw + b"\n\nText\n")[0]
    assert title is not None and title.endswith(expected)


@pytest.mark.parametrize(
    ("plain_text", "expected"),
    [("The vote is postponed until May.", "The vote is postponed until May."), ("Use HTML", "The vote is on *May*.")],
)
def test_the_plain_text_is_read_unless_it_only_points_at_the_html(plain_text: str, expected: str) -> None:
    page = html("<p>The vote is on *May*.</p><style>p {}</style>")
    assert read("a.eml", multipart("alternative", plain(plain_text), page))[1][2:] == [expected]


def test_html_alone_is_read_as_the_charset_of_its_header_says() -> None:
    page = (
        "Content-Type: text/html; charset=iso-8859-2\nContent-Transfer-Encoding: base64\n\n"
        + base64.b64encode('<meta charset="utf-8"><p>Příliš žluťoučký kůň</p>'.encode("iso-8859-2")).decode()
    )
    assert read("a.eml", (HEAD + page).encode())[1][2:] == ["Příliš žluťoučký kůň"]


def test_flowed_lines_are_joined() -> None:
    text = plain("A long \nline.\n> quoted \n> more\n-- \nA. Person", "; format=flowed")
    assert read("a.eml", (HEAD + text).encode())[1][2] == "A long line."


def test_attachments_are_read_in_turn_or_named() -> None:
    attached = {
        "minutes.pdf": pdf("Minutes of May"),
        "letter.docx": docx(word_paragraph("A letter")),
        "sums.xlsx": xlsx([["Sum", 3]]),
        "note.txt": b"A note",
        "photo.png": PNG,
        "all.zip": b"PK\x03\x04" + bytes(40),
    }
    _, lines, warnings = read("a.eml", mail("See attached", attached=attached))
    assert lines[5:] == [
        *("## Attachment: minutes.pdf", "Minutes of May", "## Attachment: letter.docx", "A letter"),
        *("## Attachment: sums.xlsx", "## Decisions", "Sum | 3", "## Attachment: note.txt", "A note"),
        *("Attachment: photo.png (not read)", "Attachment: all.zip (not read)"),
    ]
    assert warnings == ["Attachments were not read: 2: photo.png (a PNG picture), all.zip (a ZIP archive)."]


def test_forwarded_messages_are_read_to_a_depth() -> None:
    inner = "Content-Type: message/rfc822\n\n" + mail("Inner text", subject="Old").decode()
    lines = read("a.eml", multipart("mixed", plain("See below"), inner))[1]
    assert lines[2:4] == ["See below", "## Attached message: Old"] and lines[-1] == "Inner text"
    message = mail("core")
    for _ in range(12):
        message = f"{HEAD}Content-Type: message/rfc822\n\n".encode() + message
    _, lines, warnings = read("a.eml", message)
    assert lines.count("Subject: Vote") == 9 and warnings == [
        "Attachments were not read: 1: a message, nested too deeply."
    ]


def test_pictures_within_html_are_counted() -> None:
    head = "Content-Type: image/png\nContent-ID: <1>\nContent-Transfer-Encoding: base64\n\n"
    picture = head + base64.b64encode(PNG).decode()
    _, lines, warnings = read("a.eml", multipart("related", html('<p>Hello <img src="cid:1"></p>'), picture))
    assert lines[2:] == ["Hello"] and warnings == ["Pictures in the text were not read: 1."]


def test_an_encrypted_message_is_unreadable_and_a_signed_one_is_read() -> None:
    with pytest.raises(EncryptedError, match="encrypted"):
        read("a.eml", multipart("encrypted", "Content-Type: application/pgp-encrypted\n\nVersion: 1"))
    signed = multipart("signed", plain("Signed text"), "Content-Type: application/pgp-signature\n\nabc")
    assert read("a.eml", signed)[1:] == (["From: a@x.example", "Subject: Vote", "Signed text"], [])


def test_a_message_in_two_bytes_a_character_is_read() -> None:
    assert read("a.eml", mail("Dear all").decode().encode("utf-16"))[0] == "Vote postponed – café"


def test_each_message_of_a_mailbox_has_a_heading_and_quoting_is_undone() -> None:
    messages = [
        mail("One\n\n>From here on\n", subject="First"),
        mail("Two", subject=""),
        mail("Three", attached={"a.png": PNG}),
    ]
    title, lines, warnings = read("a.mbox", mbox(messages))
    assert title is None and [line for line in lines if line.startswith("#")] == [
        *("# First", "# Message without a subject", "# Vote postponed – café")
    ]
    assert "From here on" in lines and warnings == ["Attachments were not read: 1: a.png (a PNG picture)."]


def test_a_mailbox_of_one_message_is_that_message() -> None:
    assert read("a.mbox", mbox([mail("One")]))[0] == "Vote postponed – café"


def test_of_a_saved_page_the_page_is_read() -> None:
    title, lines, _ = read("a.mhtml", mhtml("<title>Minutes</title><p>Text</p>"))
    assert title == "Minutes" and lines == ["Text"]
