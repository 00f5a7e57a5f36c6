"""Sample documents are read like any others."""

from pydoc_data.topics import topics

import pytest

from configs.errors import ConfigError
from configs.settings import InputSettings
from pipeline.documents.extract import Extractor
from pipeline.documents.sources import list_documents


def listed(source: str):
    return list_documents(InputSettings(sources=(source,)))


def test_every_topic_of_the_language_reference_is_a_document():
    settings = InputSettings(sources=("sample://python-reference/",))
    documents = list_documents(settings)
    extractor = Extractor(settings)
    texts = {document.document_id: "".join(extractor.read(document).text) for document in documents}
    assert texts == {f"sample://python-reference/{name}.txt": text for name, text in topics.items()}
    assert len({document.source_etag for document in documents}) == len(set(topics.values()))


def test_one_topic_and_a_glob_of_them():
    assert [document.document_id for document in listed("sample://python-reference/assert.txt")] == [
        "sample://python-reference/assert.txt"
    ]
    assert len(listed("sample://python-reference/a*.txt")) == sum(name.startswith("a") for name in topics)


def test_what_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="no-such-thing"):
        listed("sample://no-such-thing/")
