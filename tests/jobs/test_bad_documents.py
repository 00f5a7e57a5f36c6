"""One run over documents that were made to end it, or to get at what is none of their business."""

import gzip
from pathlib import Path
from pydoc_data.topics import topics

from jobs import exits
from pipeline.reports.warehouse import Warehouse
from pipeline.storage import objects
from tests.pdf import operators

SECRET = b"c0ffee-of-nobodys-business"
MIB = 1024 * 1024


def write_good(folder: Path) -> list[Path]:
    texts = [text for text in topics.values() if 2000 < len(text) < 6000][:10]
    paths = [folder / f"good {number}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_no_document_ends_a_run_or_gets_at_what_is_outside(summarize, tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (tmp_path / "secret.txt").write_bytes(SECRET * 100)
    good = write_good(folder)
    assert len(good) == 10
    (folder / "hex.html").write_bytes(b'<meta charset="hex"><p>caf\xe9, and no encoding has \x81\x8d\xff\xfe</p>')
    (folder / "comments.xml").write_bytes(b"<!-- a comment -->\n" * 60 + b"<svg>\x81\x8d\xff\xfe</svg>")
    (folder / "bomb.txt.gz").write_bytes(gzip.compress(b"0" * 16 * MIB) * 128)
    # An hour and a half of pypdf's time.
    (folder / "loop.pdf").write_bytes(operators(1_000_000, num_pages=1000))
    outside = ["/etc/hostname", str(tmp_path / "secret.txt"), "../secret.txt"]
    lines = [f'{{"document_id": "{number}", "uri": "{uri}"}}\n' for number, uri in enumerate(outside)]
    (folder / "found.manifest.jsonl").write_text("".join(lines))

    finished = summarize([str(folder)], "input.max_document_seconds=5")

    assert finished.returncode == exits.PARTIAL, finished.stderr
    tables = Warehouse(summarize.output)
    rows = tables.rows("select document_id, summary from summaries")
    assert sorted(row["document_id"] for row in rows) == sorted(map(str, good))
    failures = tables.rows("select document_id, error_class, error_message from failures")
    reasons = {Path(row["document_id"]).name: (row["error_class"], row["error_message"]) for row in failures}
    assert {name: error_class for name, (error_class, _) in reasons.items()} == {
        "hex.html": "UndecodableError",
        "comments.xml": "UndecodableError",
        "bomb.txt.gz": "TooLargeError",
        "loop.pdf": "TimeLimitError",
    }
    assert "input.max_expansion" in reasons["bomb.txt.gz"][1]
    assert "input.max_document_seconds" in reasons["loop.pdf"][1]
    assert "found.manifest.jsonl" in finished.stderr
    written = [objects.read_bytes(uri) for uri in objects.list_files(summarize.output)]
    assert len(written) > 20
    assert not any(SECRET[:8] in content or b"/etc/hostname" in content for content in written)
