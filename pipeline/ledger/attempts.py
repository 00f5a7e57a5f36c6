"""How far each attempt at a document got, one whose actor died too, and how much of what it read was in vain.

An attempt starts where a snapshot of an earlier one stands. An actor that dies may have saved more than its last
heartbeat told of; where the next attempt starts is then the better witness. So for every document that is finished,
`tokens_read` less `tokens_wasted` over its attempts comes to its tokens, but for those that another run had kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from configs.errors import StateError
from pipeline.billing.metering import Spent
from pipeline.ledger.records import Claim, Entry, MeterReading, Place, Underway, place_of
from pipeline.ledger.run_folder import Ledger
from pipeline.storage import header

ENDED = ("finished", "failed")


@dataclass
class Attempt:
    """At a document at one content; positions are counted in tokens from its first."""

    place: Place
    number: int
    began: tuple[int, str]
    """When and by which actor, for the order."""
    start: int
    """What it did not need to read ends here."""
    end: int
    """Where it stood when it was last heard of."""
    outcome: str
    """As in `costs`."""
    state_uri: str | None
    """What it started from."""
    saved: int = 0
    """Where later ones started from."""
    wasted: int | None = None
    """Tokens that were read in vain; None as long as the document has no result."""
    lost: tuple[Underway, MeterReading] | None = None
    """Of one whose actor has died, what was last heard."""

    @property
    def tokens_read(self) -> int:
        return self.end - self.start

    @property
    def spent(self) -> Spent:
        """Of what the actor of a lost attempt told, the time that is saved by what later ones started from, in
        proportion to the tokens; that much at least which it knew to be saved."""
        assert self.lost is not None
        underway, saved = self.lost[0], self.saved - self.start
        spent = underway.spent
        if saved <= 0:
            return spent
        read = max(saved, underway.tokens_read)
        shown = spent.microseconds * saved // read
        if shown <= spent.saved:
            return spent
        return replace(spent, saved=shown, decoding_saved=max(spent.decoding_saved, spent.decoding * saved // read))


def ended_attempt(entry: Entry, outcome: str) -> Attempt:
    """`outcome` may be another than the entry's, which does not know that it was fenced."""
    start = entry["tokens_resumed"]
    began = (round(entry["published_at"].timestamp() * 1e6), entry["actor_id"])
    end = start + entry["tokens_read"]
    return Attempt(place_of(entry), entry["attempt"], began, start, end, outcome, entry["state_uri"])


def lost_attempt(
    claim: Claim, seen: Mapping[Place, tuple[Underway, MeterReading]], meters: Mapping[str, MeterReading]
) -> Attempt:
    """An attempt whose actor died; `seen` is what the last heartbeats said of each attempt."""
    lost = seen.get(claim.place) or _unseen(claim, meters)
    start = lost[0].tokens_resumed
    end = start + lost[0].tokens_read
    began = (claim.began_us, claim.actor_id)
    return Attempt(claim.place, claim.attempt, began, start, end, "lost", claim.state_uri, lost=lost)


def account(ledger: Ledger, key: str, attempts: list[Attempt]) -> None:
    """Order all attempts at one content of a document, find how far lost ones had come, and count what was
    read in vain."""
    # Two of one number are of actors of which each took itself for the only one. Who started from a snapshot did so
    # after another had written it.
    attempts.sort(key=lambda each: (each.number, each.start, each.began))
    for number, attempt in enumerate(attempts, 1):
        attempt.number = number
    if any(attempt.lost for attempt in attempts):
        _witness(ledger, key, attempts)
    ended = [attempt for attempt in attempts if attempt.outcome in ENDED]
    if ended:
        last = max(ended, key=lambda each: (each.outcome == "finished", each.number))
        for number, wasted in _wasted_tokens(attempts, last.number).items():
            attempts[number - 1].wasted = wasted


def _unseen(claim: Claim, meters: Mapping[str, MeterReading]) -> tuple[Underway, MeterReading]:
    """Stands in for an attempt that no heartbeat mentioned: all that is known is that it was begun. Of an actor
    that died before its first heartbeat, not even the device is known."""
    began = claim.began_us
    unknown = MeterReading(claim.actor_id, "", "", 1, "0", "", began, began, total_us=0)
    attempt = (claim.document_id, claim.source_etag, claim.attempt)
    return Underway(*attempt, began, Spent(), 0, claim.tokens_before), meters.get(claim.actor_id, unknown)


def _witness(ledger: Ledger, key: str, attempts: Sequence[Attempt]) -> None:
    """Move lost attempts to where the document's snapshot shows that they had come: what later ones started from and,
    of a document that is not finished, what the snapshot holds now."""
    snapshot_uri = ledger.snapshot_uri(key)
    held = [(each.number, each.start) for each in attempts if each.state_uri == snapshot_uri]
    if all(attempt.outcome != "finished" for attempt in attempts):
        held.append((attempts[-1].number + 1, _tokens_in(snapshot_uri)))
    for number, tokens in held:
        saver = _saver(attempts, tokens, number)
        if saver is None:
            died = [each for each in attempts if each.lost and each.number < number and each.start < tokens]
            if not died:
                continue
            saver = died[-1]
            saver.end = tokens
        saver.saved = max(saver.saved, tokens)


def _tokens_in(snapshot_uri: str) -> int:
    """0 where there is no snapshot."""
    try:
        return int(header.about(snapshot_uri)["tokens"])
    except StateError:
        return 0


def _saver(attempts: Sequence[Attempt], tokens: int, before: int) -> Attempt | None:
    """The latest earlier attempt that can have saved the document at this place."""
    able = [each for each in attempts if each.number < before and each.start < tokens <= each.end]
    return able[-1] if able else None


def _wasted_tokens(attempts: Sequence[Attempt], last: int) -> dict[int, int]:
    """Tokens wasted by each attempt: all that it read, except what the last attempt or one before it built on."""
    wasted = {each.number: each.tokens_read for each in attempts}
    wasted[last] = 0
    needed = next(each.start for each in attempts if each.number == last)
    while saver := _saver(attempts, needed, last):
        wasted[saver.number] -= needed - saver.start
        needed, last = saver.start, saver.number
    return wasted
