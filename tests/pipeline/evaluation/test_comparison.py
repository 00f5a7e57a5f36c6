import pytest

from pipeline.evaluation.chart import chart
from pipeline.evaluation.comparison import Scores

ROWS = [
    {"document_id": f"{group}{number}", "group": group, "method": method, "rouge_1": score + number / 100}
    for group, base in (("a", 0.3), ("b", 0.5))
    for number in range(10)
    for method, score in (("extract", base + 0.1 + number % 2 / 50), ("lead", base))
]


def test_groups_count_the_same_in_the_mean():
    scores = Scores(ROWS)
    assert scores.groups() == {"a": 10, "b": 10}
    assert scores.mean_of_groups("lead", "rouge_1") == pytest.approx(0.445)


def test_differences_are_paired_and_their_intervals_hold_them():
    found = Scores(ROWS).differences("extract", "lead", "rouge_1")
    assert set(found) == {"a", "b", "mean of groups"}
    for difference in found.values():
        assert difference.mean == pytest.approx(0.11)
        assert 0.1 <= difference.lower < 0.11 < difference.upper <= 0.12


def test_draws_are_the_same_each_time():
    assert Scores(ROWS).differences("extract", "lead", "rouge_1") == Scores(ROWS).differences(
        "extract", "lead", "rouge_1"
    )


def test_a_chart_escapes_what_it_is_given():
    drawn = chart("<b>", ["<script>"], {"a&b": [12.0]})
    assert "<script>" not in drawn and "&lt;script&gt;" in drawn and "a&amp;b" in drawn
