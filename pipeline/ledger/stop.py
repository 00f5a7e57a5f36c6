"""Whether a run shall stop, as its actors and readers find it."""

from pipeline.billing.metering import now_us
from pipeline.ledger.run_folder import Ledger


def stop_requested(output_uri: str, run_id: str, start: int, deadline_us: int | None) -> bool:
    """For readers: whether this start of the run was asked to stop, so that nothing more need be read."""
    return has_passed(deadline_us) or Ledger(output_uri, run_id).stop_reason(start) is not None


def stop_message(start: int) -> str:
    """Under which name a run's mailbox says why this start of it shall stop."""
    return f"stops/{start:04d}"


def has_passed(deadline_us: int | None) -> bool:
    """Whether there is a deadline (UTC, microseconds since 1970), and it is over."""
    return deadline_us is not None and now_us() >= deadline_us
