"""Whether a pass reads documents or advances answers."""

PATIENCE = 32
"""Prefill passes that an answer waits for company: what a finished document may lose to a preemption meanwhile."""
BURST = 32
"""Decode passes that answers without company get before the next prefill: a long answer must not stop the reading."""


class Turns:
    """Answers go first when enough of them share the reading of the weights, or have waited long enough."""

    def __init__(self, enough: int) -> None:
        self._enough = enough
        self._waited = 0
        """Prefill passes that answers have waited for company, then decode passes that they have had without."""

    def reset(self) -> None:
        """No answer waits."""
        self._waited = 0

    def decode_now(self, num_decoding: int) -> bool:
        """Whether answers go first, though there is something to read."""
        if num_decoding >= self._enough:
            return True
        self._waited = self._waited % (PATIENCE + BURST) + 1
        return self._waited > PATIENCE
