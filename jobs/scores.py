"""The tables that jobs.evaluate prints of its scores."""

from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from typing import Any

import numpy as np
from rich.table import Table

from pipeline.evaluation.comparison import NUM_DRAWS, Difference, Scores
from pipeline.evaluation.measures import MEASURES, NUM_PARTS
from pipeline.evaluation.summaries import ANSWER, BASELINES, EXTRACT

Row = Mapping[str, Any]
COMPARED = ("rouge_1", "rouge_2", "rouge_l")
PLAIN = ("unsupported", "words")
"""Measures that are counts; all others are shares, shown in percent."""
BY = ("group", "length")
ALL = "mean of groups"


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """Means by group and by length, coverage of the document, and how sure the differences are."""
    scores = Scores(rows)
    yield from (_means(scores, by) for by in BY)
    yield _coverage(rows)
    yield from (_differences(scores, *pair) for pair in pairs(scores.methods))


def pairs(methods: Sequence[str]) -> list[tuple[str, str]]:
    """What is compared: each of ours with each baseline, and ours with each other; of baselines alone, the first with
    the others."""
    ours = [method for method in (EXTRACT, ANSWER) if method in methods]
    baselines = [method for method in methods if method in BASELINES]
    if not ours:
        return [(baselines[0], other) for other in baselines[1:]]
    return [(one, other) for one in ours for other in baselines] + ([(EXTRACT, ANSWER)] if len(ours) > 1 else [])


def readability(rows: Sequence[Row]) -> Iterator[str]:
    """A line about the sentences of extracts, where there are any."""
    found = [row for row in rows if row["standing_alone"] is not None]
    sentences = [row["summary"].count("\n") + 1 for row in found]
    if found:
        alone, broken = (
            100 * sum(row[name] * number for row, number in zip(found, sentences, strict=True)) / sum(sentences)
            for name in ("standing_alone", "broken")
        )
        yield f"Of {sum(sentences):,} sentences of extracts, {alone:.1f} % stand alone and {broken:.2f} % are broken."


def _means(scores: Scores, by: str) -> Table:
    table = Table(title=f"Means by {by}; all in percent, but for unsupported numbers and words")
    for name in (by, "documents", "method", *MEASURES):
        table.add_column(name.replace("_", " "), justify="left" if name in (by, "method") else "right")
    groups = scores.groups(by)
    for group, number in {**groups, ALL: sum(groups.values())}.items():
        for place, method in enumerate(scores.methods):
            means = (
                scores.mean_of_groups(method, name, by) if group == ALL else scores.mean(method, name, group, by)
                for name in MEASURES
            )
            cells = map(_cell, means, MEASURES)
            table.add_row(group if place == 0 else "", str(number) if place == 0 else "", method, *cells)
        table.add_section()
    return table


def _cell(value: float, name: str) -> str:
    if isnan(value):
        return "-"
    return f"{value:.1f}" if name in PLAIN else f"{100 * value:.1f}"


def coverage(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Of each method and of the references, in percent, by tenths of the document; each document counts the same."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    profiles = {method: [row["profile"] for row in rows if row["method"] == method] for method in methods}
    profiles["reference"] = [row["reference_profile"] for row in rows if row["method"] == methods[0]]
    return {name: (100 * np.mean(found, axis=0)).tolist() for name, found in profiles.items()}


def _coverage(rows: Sequence[Row]) -> Table:
    table = Table(title="Which tenths of the document support the sentences of a summary, in percent")
    for name in ("method", *map(str, range(1, NUM_PARTS + 1))):
        table.add_column(name, justify="left" if name == "method" else "right")
    for name, shares in coverage(rows).items():
        table.add_row(name, *(f"{share:.1f}" for share in shares))
    return table


def _differences(scores: Scores, first: str, second: str) -> Table:
    table = Table(title=f"{first} minus {second}, points, with 95 % of {NUM_DRAWS:,} bootstrap draws")
    for name in ("", "documents", *COMPARED):
        table.add_column(name.replace("_", " "), justify="right" if name else "left")
    for by in BY:
        found = {measure: scores.differences(first, second, measure, by) for measure in COMPARED}
        for group, difference in found[COMPARED[0]].items():
            if by == "group" or group != ALL:
                intervals = (_interval(found[measure][group]) for measure in COMPARED)
                table.add_row(group, str(difference.num_documents), *intervals)
        table.add_section()
    return table


def _interval(difference: Difference) -> str:
    if difference.num_documents == 1:
        return f"{100 * difference.mean:+.1f}"
    mean, lower, upper = (100 * value for value in (difference.mean, difference.lower, difference.upper))
    return f"{mean:+.1f} [{lower:+.1f}, {upper:+.1f}]"
