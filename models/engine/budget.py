"""Which documents a pass reads, and how much of each."""

from collections.abc import Sequence


def share_budget(pending: Sequence[int], budget: int, chunk: int, least: int = 0) -> list[int]:
    """Tokens that each reader gets of a pass: equal shares, what short readers leave goes to the long ones.

    A share that does not finish its reader is a multiple of `chunk`, so that a document is cut at the same places
    whatever else is being read, and where the budget allows at least `least`. Readers that the budget cannot serve get
    0 and keep their place in the order.
    """
    least = max(chunk, least // chunk * chunk)
    shares = [0] * len(pending)
    left = budget
    waiting = list(range(len(pending)))
    while waiting and left > 0:
        fair = max(left // len(waiting) // chunk * chunk, least)
        progress = False
        for reader in list(waiting):
            missing = pending[reader] - shares[reader]
            share = missing if missing <= min(fair, left) else min(fair, left) // chunk * chunk
            shares[reader] += share
            left -= share
            progress |= share > 0
            if shares[reader] == pending[reader]:
                waiting.remove(reader)
        if not progress:
            break
    return shares
