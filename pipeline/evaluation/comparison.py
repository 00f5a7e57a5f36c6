"""Methods side by side: means by group, and how sure their differences are."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.references import LENGTH_NAMES

Array = npt.NDArray[Any]
Row = Mapping[str, Any]
NUM_DRAWS = 2_000
LOWER, UPPER = 2.5, 97.5


@dataclass(frozen=True)
class Difference:
    """Of one measure between two methods, over the same documents."""

    mean: float
    lower: float
    upper: float
    """95 % of bootstrap draws lie between."""
    num_documents: int


class Scores:
    """Of every method on every document."""

    def __init__(self, rows: Sequence[Row], seed: int = 0) -> None:
        """Rows with `document_id`, `method`, a group, and measures."""
        self._rows, self._seed = rows, seed
        self._grouped = cache(self._by_group_and_method)
        self.methods = list(dict.fromkeys(row["method"] for row in rows))

    def groups(self, by: str = "group") -> dict[str, int]:
        """How many documents each has, lengths in their order, others in that of their names."""
        found = Counter({_key(row): row[by] for row in self._rows}.values())
        ordered = [name for name in LENGTH_NAMES if name in found] if by == "length" else sorted(found)
        return {group: found[group] for group in ordered}

    def _by_group_and_method(self, by: str) -> Mapping[tuple[str, str], list[Row]]:
        found = defaultdict(list)
        for row in self._rows:
            found[row[by], row["method"]].append(row)
        return found

    def mean(self, method: str, measure: str, group: str, by: str = "group") -> float:
        """Over a group; nan where nothing is known."""
        known = [row[measure] for row in self._grouped(by)[group, method] if row[measure] is not None]
        return float(np.mean(known)) if known else float("nan")

    def mean_of_groups(self, method: str, measure: str, by: str = "group") -> float:
        """Each group counts the same, of those where something is known."""
        means = [self.mean(method, measure, group, by) for group in self.groups(by)]
        known = [mean for mean in means if not np.isnan(mean)]
        return float(np.mean(known)) if known else float("nan")

    def differences(self, first: str, second: str, measure: str, by: str = "group") -> dict[str, Difference]:
        """Of `first` from `second` in each group, and over the mean of groups, under the name of all."""
        paired = self._paired(first, second, measure, by)
        chance = np.random.default_rng(self._seed)
        draws = {group: _draws(values, chance) for group, values in paired.items()}
        found = {group: _difference(paired[group].mean(), draws[group], len(paired[group])) for group in paired}
        if paired:
            mean = np.mean([values.mean() for values in paired.values()])
            total = sum(map(len, paired.values()))
            found["mean of groups"] = _difference(mean, np.mean(list(draws.values()), 0), total)
        return found

    def _paired(self, first: str, second: str, measure: str, by: str) -> dict[str, Array]:
        values = {(_key(row), row["method"]): row[measure] for row in self._rows}
        groups = {_key(row): row[by] for row in self._rows}
        paired: dict[str, list[float]] = {group: [] for group in self.groups(by)}
        for document, group in groups.items():
            if (document, first) in values and (document, second) in values:
                paired[group].append(values[document, first] - values[document, second])
        return {group: np.array(found) for group, found in paired.items() if found}


def _key(row: Row) -> tuple[str, str]:
    # One document may be in two groups, in two forms.
    return row["group"], row["document_id"]


def _draws(values: Array, chance: np.random.Generator) -> Array:
    return np.asarray(values[chance.integers(len(values), size=(NUM_DRAWS, len(values)))].mean(1))


def _difference(mean: float, draws: Array, num_documents: int) -> Difference:
    lower, upper = np.percentile(draws, [LOWER, UPPER])
    return Difference(float(mean), float(lower), float(upper), num_documents)
