"""What the ledger of a run comes to, in memory that grows with the documents' ids and not with their rows.

The segments are gone through twice. The first time figures are summed, and of each document it is seen whether it had
one attempt or several. The second time, table by table, rows are made of entries. Nearly all documents have one
attempt, of which an entry says everything; only for the others are all entries held at once.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from configs.errors import LedgerError
from pipeline.billing.money import EXACT, amount_of, units
from pipeline.ledger import attempts, costs
from pipeline.ledger.attempts import ENDED, Attempt
from pipeline.ledger.costs import DeviceTime
from pipeline.ledger.lease import starts
from pipeline.ledger.records import Claim, Entry, Heartbeat, MeterReading, Place, final_readings, place_of
from pipeline.ledger.run_folder import Ledger
from pipeline.schemas.tables import Row
from pipeline.storage import objects

IDENTITY = ("document_id", "source_etag", "batch", "attempt", "actor_id")
COUNTED = (*IDENTITY, "claim")
SUMMED = (
    *COUNTED,
    *("outcome", "published_at", "tokens_resumed", "tokens_read", "tokens_decoded", "spent", "state_uri"),
    *("summaries.list.element.run_id", "failures.list.element.run_id"),
)
CHARGED = ("outcome", "started_at", "published_at", "tokens_resumed", "tokens_read", "tokens_decoded", "spent")
"""What figures are made of, without texts."""


class Account:
    """Of one run, at the time when it is made."""

    def __init__(self, ledger: Ledger, etags: Mapping[str, str]) -> None:
        """`etags` are those of the documents now. Raises LedgerError where the ledger contradicts itself."""
        self.run_id, self.quote = ledger.run_id, ledger.quote()
        self._ledger, self._etags, self._segments = ledger, etags, ledger.segments()
        self.sums = Sums()
        self.counts: Counter[str] = Counter()
        """Documents at their present content, by how they ended."""
        self.left = dict(etags)
        """Documents without result or failure."""
        self.finished: set[str] = set()
        """Keys of documents that are, and have a snapshot."""
        self._with_snapshot = ledger.saved()
        several, unclear, readings = self._look()
        # Late, since actors may still tell of their last moments.
        heartbeats = ledger.heartbeats()
        self.meters = final_readings([*(heartbeat.reading for heartbeat in heartbeats), *readings])
        self._read(several, unclear, heartbeats)
        self._starts = starts(ledger)
        self._add_overheads()
        self.currency = self.sums.one_currency(self.run_id)

    def costs(self) -> Iterator[Row]:
        """Of attempts and overheads, which sum to the bill."""
        for entry in self._entries(*CHARGED):
            fate = self._fates.get(place_of(entry))
            for row in costs.ended_rows(self.run_id, entry, self._reading(entry), fate):
                yield row | self._start(row)
        for row in (*self._lost_rows, *self._overheads):
            yield row | self._start(row)

    def states(self) -> Iterator[Row]:
        """That are kept, of attempts that count."""
        for entry in self._entries("outcome", "states"):
            if self._outcome(entry) != "fenced":
                yield from entry["states"]

    def failures(self, shares: "Shares") -> Iterator[Row]:
        """Rows of `failures`, each with its share of all costs. Read them before the summaries: shares go in order."""
        return self._answers("failures", shares)

    def summaries(self, shares: "Shares") -> Iterator[Row]:
        """Likewise."""
        return self._answers("summaries", shares)

    def _look(self) -> tuple[set[str], list[Claim], list[MeterReading]]:
        """Documents with more than one attempt, claims of which not all attempts may have ended, and what the meters
        showed."""
        seen: set[str] = set()
        several: set[str] = set()
        ended: Counter[tuple[str, int]] = Counter()
        readings = []
        for entry in self._entries(*COUNTED, "reading"):
            if entry["reading"] is not None:
                readings.append(MeterReading(**entry["reading"]))
            (several if entry["document_id"] in seen else seen).add(entry["document_id"])
            ended[entry["batch"], entry["claim"]] += 1
        unclear = self._ledger.claims_without_an_end(ended)
        return several | {claim.document_id for claim in unclear}, unclear, readings

    def _read(self, several: set[str], unclear: Sequence[Claim], heartbeats: Sequence[Heartbeat]) -> None:
        entries: dict[str, list[Entry]] = defaultdict(list)
        for entry in self._entries(*SUMMED):
            if entry["document_id"] in several:
                entries[entry["document_id"]].append(entry)
            else:
                self._add_only(entry)
        ended = {place_of(entry) for each in entries.values() for entry in each}
        claims: dict[str, list[Claim]] = defaultdict(list)
        for claim in unclear:
            if claim.place not in ended:
                claims[claim.document_id].append(claim)
        seen = {
            place: (underway, heartbeat.reading)
            for heartbeat in heartbeats
            for place, underway in heartbeat.places.items()
        }
        self._fates: dict[Place, Attempt] = {}
        self._chosen: set[Place] = set()
        self._shared: dict[str, list[DeviceTime]] = {}
        """What counts of all attempts at a document, by its key."""
        self._begun: Counter[str] = Counter()
        self._lost_rows: list[Row] = []
        for document_id in sorted(several):
            self._add_several(document_id, entries[document_id], claims[document_id], seen)

    def _add_only(self, entry: Entry) -> None:
        """The one attempt at its document."""
        self.sums.add_entry(entry, self._reading(entry))
        if entry["summaries"] or (entry["failures"] and self._is_present(entry)):
            self._choose(entry, entry["outcome"], [self._kept(entry)])

    def _add_several(
        self,
        document_id: str,
        entries: list[Entry],
        claims: Sequence[Claim],
        seen: Mapping[Place, tuple[Any, MeterReading]],
    ) -> None:
        entries.sort(key=lambda entry: (entry["published_at"], entry["actor_id"]))
        at_content: dict[str, list[Attempt]] = defaultdict(list)
        for entry in entries:
            key, is_finished = place_of(entry)[0], entry["outcome"] == "finished"
            # A document is finished once: by who was first.
            is_second = is_finished and any(each.outcome == "finished" for each in at_content[key])
            at_content[key].append(attempts.ended_attempt(entry, "fenced" if is_second else entry["outcome"]))
        for claim in claims:
            at_content[claim.key].append(attempts.lost_attempt(claim, seen, self.meters))
        for key, made in at_content.items():
            attempts.account(self._ledger, key, made)
            self._begun[key] = len(made)
            self._shared[key] = []
            for attempt in made:
                self._fates[attempt.place] = attempt
                if attempt.lost:
                    self._add_lost(key, attempt)
        for entry in entries:
            self.sums.add_entry(entry, self._reading(entry))
            if self._outcome(entry) != "fenced":
                self._shared[place_of(entry)[0]].append(self._kept(entry))
        best = self._best(entries)
        if best is not None:
            self._chosen.add(place_of(best))
            self._choose(best, self._outcome(best), self._shared[place_of(best)[0]])

    def _add_lost(self, key: str, attempt: Attempt) -> None:
        assert attempt.lost is not None
        _, reading = attempt.lost
        self._lost_rows += costs.lost_rows(self.run_id, attempt)
        self._shared[key].append(DeviceTime(reading.rate, attempt.spent.saved))
        self.sums.tokens_read += attempt.tokens_read
        self.sums.add_time(reading, attempt.spent.microseconds)

    def _best(self, entries: Sequence[Entry]) -> Entry | None:
        """Of several attempts at a document: one at its present content, then one that finished, then one that failed,
        then the latest that has a summary so far. A failure to read what is no longer there is none of any document."""

        def worth(entry: Entry) -> tuple[bool, bool, bool]:
            outcome = self._outcome(entry)
            return self._is_present(entry), outcome == "finished", outcome in ENDED

        best: Entry | None = None
        for entry in entries:
            if self._outcome(entry) == "fenced":
                continue
            if not entry["summaries"] and not (entry["failures"] and self._is_present(entry)):
                continue
            if best is None or worth(entry) >= worth(best):
                best = entry
        return best

    def _choose(self, entry: Entry, outcome: str, times: Sequence[DeviceTime]) -> None:
        """The entry whose summaries or failure are the document's, and the time of all attempts at it."""
        self.sums.add_answers(entry, times)
        if self._is_present(entry) and outcome in ENDED:
            self.counts[outcome] += 1
            self.left.pop(entry["document_id"], None)
        if outcome == "finished":
            key = place_of(entry)[0]
            self.finished |= {key} & self._with_snapshot

    def _answers(self, table: str, shares: "Shares") -> Iterator[Row]:
        """Rows of summaries or failures, each with an equal share of its document's cost, without lost work."""
        for entry in self._entries("spent", table):
            key, _, number, _ = place_of(entry)
            if not entry[table] or not self._is_chosen(entry):
                continue
            several = key in self._shared
            times = self._shared[key] if several else [self._kept(entry)]
            for row in costs.sharing(entry[table], times):
                full_cost = shares.next(row["cost"])
                yield row | {"attempts": self._begun[key] if several else number, "full_cost": full_cost}

    def _is_chosen(self, entry: Entry) -> bool:
        place = place_of(entry)
        if place[0] in self._shared:
            return place in self._chosen
        return bool(entry.get("summaries")) or self._is_present(entry)

    def _reading(self, entry: Entry) -> MeterReading:
        """Of the actor's meter, which every segment shows."""
        return self.meters[entry["actor_id"]]

    def _kept(self, entry: Entry) -> DeviceTime:
        """The time of an ended attempt that counts for its document; the rest was lost."""
        return DeviceTime(self._reading(entry).rate, entry["spent"]["saved"])

    def _outcome(self, entry: Entry) -> str:
        fate = self._fates.get(place_of(entry))
        return str(entry["outcome"] if fate is None else fate.outcome)

    def _is_present(self, entry: Entry) -> bool:
        return self._etags.get(entry["document_id"]) == entry["source_etag"]

    def _entries(self, *columns: str) -> Iterator[Entry]:
        named = list(dict.fromkeys((*IDENTITY, *columns)))
        for table in objects.read_tables(self._segments, named):
            yield from table.to_pylist()

    def _start(self, row: Row) -> Row:
        """The start of the run that the row's actor belongs to, where that is known."""
        reading = self.meters.get(row["actor_id"])
        return {"run_started_at": self._starts.get(reading.start) if reading else None}

    def _add_overheads(self) -> None:
        """What the actors' meters show beyond attempts, and what was lost without being any one document's."""
        self._overheads: list[Row] = []
        for reading in self.meters.values():
            overheads = reading.overheads
            wasted = reading.total_us - sum(overheads.values()) - self.sums.of_actors[reading.actor_id]
            if wasted < 0:
                raise LedgerError(f"actor {reading.actor_id} published more seconds than its meter showed")
            for kind, microseconds in (*overheads.items(), ("wasted", wasted)):
                if microseconds:
                    self._overheads.append(costs.overhead_row(self.run_id, kind, microseconds, reading))
                    self.sums.add_time(reading, microseconds)


class Sums:
    """Figures of a run, as its entries are gone through."""

    def __init__(self) -> None:
        self.tokens_read = self.tokens_decoded = 0
        self.device_seconds = self.cost = Decimal(0)
        self.of_actors: Counter[str] = Counter()
        """Microseconds that are accounted for."""
        self.weight = self.num_answers = 0
        """The costs of answers in units of the last digit; how many of these there are."""
        self._currencies: set[str] = set()

    def add_entry(self, entry: Entry, reading: MeterReading) -> None:
        """An attempt that ended."""
        self.tokens_read += entry["tokens_read"]
        self.tokens_decoded += entry["tokens_decoded"]
        self.add_time(reading, entry["spent"]["microseconds"])

    def add_time(self, reading: MeterReading, microseconds: int) -> None:
        """Of the actor or node that a meter belongs to."""
        rate = reading.rate
        self.of_actors[reading.actor_id] += microseconds
        self.cost = EXACT.add(self.cost, rate.cost(microseconds))
        if reading.is_of_actor:
            self.device_seconds += rate.seconds(microseconds)
        self._currencies |= {rate.currency} if rate.currency else set()

    def add_answers(self, entry: Entry, times: Iterable[DeviceTime]) -> None:
        """The summaries or the failure of a document, which cost what its attempts did."""
        self.weight += sum(units(time.cost) for time in times)
        self.num_answers += len(entry["summaries"]) + len(entry["failures"])

    def one_currency(self, run_id: str) -> str | None:
        """The one currency of all costs, or None if nothing has a price. Raises LedgerError if there are several."""
        if len(self._currencies) > 1:
            raise LedgerError(
                f"run {run_id}: its costs are in {' and '.join(sorted(self._currencies))}, which have no sum"
            )
        return next(iter(self._currencies), None)


class Shares:
    """Parts of all that a run cost, one answer after the other, in proportion to their own costs, or equal where
    nothing has any; they sum to it exactly."""

    def __init__(self, sums: Sums) -> None:
        self._total, self._is_equal = units(sums.cost), not sums.weight
        self._weights = sums.num_answers if self._is_equal else sums.weight
        self._weight = 0

    def next(self, cost: Decimal) -> Decimal:
        """The next answer's part, rounded so that every partial sum is exact to the last digit."""
        before = self._total * self._weight // self._weights
        self._weight += 1 if self._is_equal else units(cost)
        return amount_of(self._total * self._weight // self._weights - before)
