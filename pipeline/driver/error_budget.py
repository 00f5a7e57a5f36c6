"""How many documents of a run may fail: a wrong setting stops it after a thousand, not after ten million."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from configs.settings import RunSettings


class ErrorBudget:
    """Counts the documents that failed in one start of a run, from their receipts."""

    def __init__(self, settings: RunSettings) -> None:
        self._most, self._after = settings.max_failed_share, settings.max_failed_after
        self._ended = 0
        self._failed: Counter[str] = Counter()
        """By error class."""
        self._examples: dict[str, str] = {}
        """A message of each class."""

    def add(self, receipt: Mapping[str, Any]) -> None:
        """Count a receipt. One of a document that was stopped does not count."""
        self._ended += receipt["status"] in ("ok", "failed")
        if receipt["status"] == "failed":
            self._failed[receipt["error_class"]] += 1
            self._examples.setdefault(receipt["error_class"], receipt["error_message"])

    @property
    def is_spent(self) -> bool:
        return self._ended >= self._after and self._failed.total() > self._most * self._ended

    def __str__(self) -> str:
        """`812 of 1,000 documents failed, 790 of them with EmptyDocumentError, as: ...`"""
        failed = f"{self._failed.total():,} of {self._ended:,} documents failed"
        if not self._failed:
            return failed
        [(error_class, count)] = self._failed.most_common(1)
        return f"{failed}, {count:,} of them with {error_class}, as: {self._examples[error_class]}"
