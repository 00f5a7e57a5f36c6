"""An answer is compared with its document; nothing that goes wrong there costs the answer."""

from pipeline.actor.citing import cited
from pipeline.sentences.key_sentences import KeySentences

TEXT = (
    "The Harbour Committee met on Monday. It agreed to close the bridge for 14 months from March 2026.\n\n"
    "The repair was estimated at 2.4 million euros. Žofie Nováková, the engineer, found cracks in two cables.\n"
)


def passages() -> bytes:
    sentences = KeySentences()
    sentences.feed(TEXT)
    return sentences.finish().to_bytes()


def row(summary: str, kind: str = "answer") -> dict[str, object]:
    return {"document_id": "d", "kind": kind, "summary": summary}


def test_each_sentence_of_an_answer_has_its_passage_in_bytes():
    answer = "Nováková found cracks in the cables. The bridge will be closed for 14 months."
    (found,) = cited([row(answer)], passages())
    cables, bridge = found["citations"]
    assert answer.encode()[cables["answer_start"] : cables["answer_end"]].decode() == answer.split(". ")[0] + "."
    assert "cracks in two cables" in TEXT.encode()[cables["start"] : cables["end"]].decode()
    assert TEXT.encode()[bridge["start"] : bridge["end"]].decode() == bridge["text"] and "14 months" in bridge["text"]
    assert bridge["score"] > 0.4 and found["unsupported"] == []


def test_what_the_document_does_not_hold_is_told_once():
    (found,) = cited([row("The bridge closes for 15 months. Mr Weber said 15 months are too long.")], passages())
    assert found["unsupported"] == ["15", "Weber"]


def test_of_json_the_values_are_compared():
    (found,) = cited([row('{"Title": "Closure", "months": 15, "engineers": ["Nováková", "Anna Weber"]}')], passages())
    assert found["citations"] == [] and "15" in found["unsupported"] and "Weber" in found["unsupported"]
    assert not {"Title", "Nováková"} & {*found["unsupported"]}


def test_extracts_are_not_compared_and_damaged_passages_lose_no_answer():
    extract, answer = row("- 15 months", "extract"), row("15 months.")
    found = cited([extract, answer], passages())
    assert found[0] == extract and found[1]["unsupported"] == ["15"]
    assert cited([extract, answer], b"damaged") == [extract, answer]
