import random
from pathlib import Path

import pytest

from configs.errors import DocumentError
from configs.settings import InputSettings
from pipeline.formats import registry
from pipeline.formats.notes import Notes
from tests.documents_of_every_format import SENTENCE, all_documents, make_all

SETTINGS = InputSettings(sources=("unused",))
DOCUMENTS = all_documents()
BY_NAME_ALONE = {"table.csv", "table.tsv", "record.json"}
PLAIN = {"plain.txt", "marked.md", "program.py"}


def read(name: str, data: bytes) -> str:
    kind = registry.recognized(name, data)
    return "".join(registry.parse(kind, data, Notes(), SETTINGS)[1])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_format_is_read(name: str) -> None:
    assert SENTENCE in read(name, DOCUMENTS[name])


@pytest.mark.parametrize("name", sorted(DOCUMENTS.keys() - BY_NAME_ALONE))
@pytest.mark.parametrize("other", ["noname", "other.txt", "other.html", "other.docx", "other.pdf"])
def test_content_is_read_under_a_wrong_name_too(name: str, other: str) -> None:
    if name in PLAIN and other == "other.html":
        return
    assert read(other, DOCUMENTS[name]) == read(name, DOCUMENTS[name])


@pytest.mark.parametrize("name", sorted(DOCUMENTS.keys() - PLAIN))
def test_no_damage_raises_anything_but_our_errors(name: str) -> None:
    chance = random.Random(name)
    whole = DOCUMENTS[name]
    for _ in range(60):
        data = bytearray(whole[: chance.randrange(len(whole))] if chance.random() < 0.4 else whole)
        for _ in range(chance.randrange(1, 6)):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            kind = registry.recognized(name, bytes(data))
            if kind != registry.TEXT:
                list(registry.parse(kind, bytes(data), Notes(), SETTINGS)[1])
        except DocumentError:
            pass


def test_makers_tell_formats_apart() -> None:
    makers = [registry.made_by(name, SETTINGS) for name in registry.PARSED]
    assert len(set(makers)) == len({*registry.PARSED.values()}) and registry.makers(SETTINGS) >= set(makers)


def test_documents_can_be_written_to_a_folder(tmp_path: Path) -> None:
    expected = make_all(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == expected.keys()
