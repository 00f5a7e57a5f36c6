"""How far each attempt at a document got, one whose actor died too, and how much of what it read was in vain.

An attempt starts where a snapshot of an earlier one stands. An actor that dies may have saved more than its last
heartbeat told of; where the next attempt starts is then the better witness. So for every document that is finished,
`tokens_read` less `tokens_wasted` over its attempts comes to its tokens, but for those that another run had kept.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from configs.errors import StateError
from pipeline.billing.metering import Spent
from pipeline.ledger.records import Claim, Entry, Heartbeat, MeterReading, Place, Underway, place_of
from pipeline.ledger.run_folder import Ledger
from pipeline.schemas.tables import Row
from pipeline.storage import header

ENDED = ("finished", "failed")


@dataclass
class Attempt:
    """At a document at one content; places are counted in tokens from its first."""

    number: int
    start: int
    """What it did not need to read ends here."""
    end: int
    """Where it stood when it was last heard of."""
    saved: int = 0
    """Where later ones started from."""
    lost: tuple[Underway, MeterReading] | None = None
    """Of one whose actor has died, what was last heard."""

    @property
    def tokens_read(self) -> int:
        return self.end - self.start


def lost_costs(
    ledger: Ledger,
    places: Sequence[Place],
    entries: Sequence[Entry],
    heartbeats: Sequence[Heartbeat],
    meters: Mapping[str, MeterReading],
) -> list[Row]:
    """Rows of the attempts, of all `places`, whose actors have died: what snapshots hold of each, and the rest."""
    ended = {place_of(entry) for entry in entries}
    seen = {each.place: (each, heartbeat.reading) for heartbeat in heartbeats for each in heartbeat.underway}
    of_documents: dict[str, list[Attempt]] = defaultdict(list)
    for key, number in places:
        if (key, number) not in ended:
            underway, reading = seen.get((key, number)) or _unseen(ledger.claim((key, number)), meters)
            start = underway.tokens_resumed
            of_documents[key].append(Attempt(number, start, start + underway.tokens_read, lost=(underway, reading)))
    finished = set()
    for entry in entries:
        key, _ = place_of(entry)
        if key in of_documents:
            of_documents[key].extend(_attempt(row) for row in entry["costs"] if row["tokens_read"] is not None)
            finished |= {key} if entry["outcome"] == "finished" else set()
    rows: list[Row] = []
    for key, attempts in of_documents.items():
        attempts.sort(key=lambda each: each.number)
        _witness(ledger, key, attempts, is_over=key in finished)
        for attempt in attempts:
            rows.extend(_lost_rows(ledger.run_id, attempt))
    return rows


def add_wasted_tokens(costs: Sequence[Row]) -> None:
    """To the rows of documents that have ended; of others it shows when they are gone on with."""
    of_documents: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in costs:
        if row["tokens_read"] is not None:
            of_documents[row["document_id"], row["source_etag"]].append(row)
    for rows in of_documents.values():
        ended = [row for row in rows if row["outcome"] in ENDED]
        if ended:
            last = max(ended, key=lambda row: (row["outcome"] == "finished", row["attempt"]))
            wasted = _wasted_tokens(sorted(map(_attempt, rows), key=lambda each: each.number), last["attempt"])
            for row in rows:
                row["tokens_wasted"] = wasted[row["attempt"]]


def moment(microseconds: int) -> datetime:
    """Since 1970, in UTC."""
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


def _attempt(row: Row) -> Attempt:
    """Of a row of `costs` that tells of tokens."""
    start = row["tokens_resumed"] or 0
    return Attempt(row["attempt"], start, start + row["tokens_read"])


def _unseen(claim: Claim, meters: Mapping[str, MeterReading]) -> tuple[Underway, MeterReading]:
    """Of an attempt that its actor's last heartbeat did not know, nothing is known but that it was begun; of an actor
    that died before its first, not what it is."""
    began = claim.began_us
    unknown = MeterReading(claim.actor_id, "", "", 1, "0", "", began, began, total_us=0)
    place = (claim.document_id, claim.source_etag, claim.attempt)
    return Underway(*place, began, Spent(), 0, claim.tokens_before), meters.get(claim.actor_id, unknown)


def _witness(ledger: Ledger, key: str, attempts: Sequence[Attempt], is_over: bool) -> None:
    """Move lost attempts to where the document's snapshot shows that they had come: what later ones started from and,
    of a document that is not finished, what the snapshot holds now."""
    snapshot_uri = ledger.snapshot_uri(key)
    held = [(claim.attempt, claim.tokens_before) for claim in ledger.claims(key) if claim.state_uri == snapshot_uri]
    if not is_over:
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
    """By attempt: all that was read, but for what the last one was built on, or the one that that started from."""
    wasted = {each.number: each.tokens_read for each in attempts}
    wasted[last] = 0
    needed = next(each.start for each in attempts if each.number == last)
    while saver := _saver(attempts, needed, last):
        wasted[saver.number] -= needed - saver.start
        needed, last = saver.start, saver.number
    return wasted


def _lost_rows(run_id: str, attempt: Attempt) -> Iterator[Row]:
    if attempt.lost is None:
        return
    underway, reading = attempt.lost
    rate, spent = reading.rate, _spent(underway, attempt)
    common = rate.columns | {
        "run_id": run_id,
        "document_id": underway.document_id,
        "source_etag": underway.source_etag,
        "attempt": underway.attempt,
        "outcome": "lost",
        "actor_id": reading.actor_id,
        "node": reading.node,
        "started_at": moment(underway.started_us),
        "finished_at": moment(reading.read_us),
        "tokens_read": None,
    }
    counts = {"tokens_read": attempt.tokens_read, "tokens_resumed": attempt.start, "tokens_decoded": 0}
    yield common | {"kind": "document"} | counts | rate.charge(spent.saved, spent.decoding_saved)
    if spent.at_stake:
        yield common | {"kind": "wasted"} | rate.charge(spent.at_stake, spent.decoding_at_stake)


def _spent(underway: Underway, attempt: Attempt) -> Spent:
    """Of what its actor told of an attempt, the time that is saved by what later ones started from, in proportion to
    the tokens; that much at least which the actor knew to be saved."""
    spent, saved = underway.spent, attempt.saved - attempt.start
    if saved <= 0:
        return spent
    read = max(saved, underway.tokens_read)
    shown = spent.microseconds * saved // read
    if shown <= spent.saved:
        return spent
    return replace(spent, saved=shown, decoding_saved=max(spent.decoding_saved, spent.decoding * saved // read))
