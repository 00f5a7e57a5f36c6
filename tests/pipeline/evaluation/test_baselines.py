import pytest

from pipeline.evaluation import baselines

TEXT = (
    "The old lighthouse stands above the harbor of Bergen. It rained for a whole week without end.\n\n"
    "The lighthouse of Bergen guides ships into the harbor. Nobody knows what the keeper had for breakfast. "
    "Ships pass the lighthouse above the harbor of Bergen each night. Too short."
)


def test_lead_is_the_beginning_cut_at_the_words_it_may_have():
    assert baselines.lead(TEXT, 12) == "The old lighthouse stands above the harbor of Bergen.\nIt rained for"


@pytest.mark.parametrize("method", [baselines.lexrank, baselines.textrank])
def test_what_is_most_like_the_rest_is_taken_in_the_order_of_the_document(method):
    found = method(TEXT, 20).split("\n")
    assert not [sentence for sentence in found if "rained" in sentence or "Nobody" in sentence]
    assert [TEXT.index(sentence) for sentence in found[:-1]] == sorted(TEXT.index(sentence) for sentence in found[:-1])
    assert sum(len(sentence.split()) for sentence in found) == 20


@pytest.mark.parametrize("method", [baselines.lead, baselines.lexrank, baselines.textrank])
@pytest.mark.parametrize("text", ["", "One two.", "Alone stands this one sentence here."])
def test_short_documents_have_what_there_is(method, text):
    assert len(method(text, 50).split()) in (0, 6)
