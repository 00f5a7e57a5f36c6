"""Which documents travel together, and in which order."""

import pytest

from configs.errors import ConfigError
from configs.settings import SummarizeConfig
from pipeline.driver.dataset import MAX_BLOCKS, READER_MEMORY, Todo, blocks, require_memory
from pipeline.schemas.document import Document, Place


def document(name: str, size: int, offset: int | None = None) -> Document:
    suffix = "" if offset is None else f"#{offset}"
    within = () if offset is None else (Place("jsonl", None, offset, size),)
    return Document(name + suffix, name, "etag", size, within)


def names(tables) -> list[list[str]]:
    return [table.column("document_id").to_pylist() for table in tables]


def test_the_largest_documents_go_first():
    todo = [Todo(document(name, size)) for name, size in [("a", 5), ("b", 900), ("c", 50), ("d", 7)]]
    assert names(blocks(todo, 2)) == [["b", "c"], ["d", "a"]]


def test_lines_of_a_file_stay_together_in_their_order():
    lines = [Todo(document("lines.jsonl", 30, offset)) for offset in (60, 0, 30)]
    assert names(blocks([Todo(document("a", 40)), *lines], 4)) == [
        ["lines.jsonl#0", "lines.jsonl#30", "lines.jsonl#60", "a"]
    ]


def test_the_number_of_blocks_is_bounded_and_every_document_is_in_one():
    todo = [Todo(document(f"d{index}", index), f"state {index}" if index % 3 else None) for index in range(5000)]
    tables = blocks(todo, 4)
    assert len(tables) <= MAX_BLOCKS
    assert sorted(name for block in names(tables) for name in block) == sorted(
        each.document.document_id for each in todo
    )
    states = {
        name: uri
        for table in tables
        for name, uri in zip(
            table.column("document_id").to_pylist(), table.column("state_uri").to_pylist(), strict=True
        )
    }
    assert states == {each.document.document_id: each.state_uri for each in todo}


def test_a_machine_with_too_little_memory_for_a_reader_is_refused_rather_than_waited_for():
    most = 1 << 30
    config = SummarizeConfig.model_validate({"input": {"sources": ["x"], "max_document_memory": most}})
    require_memory(READER_MEMORY + most, config)
    with pytest.raises(ConfigError, match=rf"input\.max_document_memory = {most}: .* lower it"):
        require_memory(READER_MEMORY + most - 1, config)
