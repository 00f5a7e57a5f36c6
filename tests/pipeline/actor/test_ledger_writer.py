"""What an actor writes beside its engine."""

from pipeline.actor.gauge import ActorGauge
from pipeline.actor.ledger_writer import LedgerWriter
from pipeline.ledger.records import Heartbeat
from pipeline.ledger.run_folder import Ledger
from pipeline.telemetry import observer


def test_a_heartbeat_while_the_process_ends_is_left_out(tmp_path):
    ledger, actor = Ledger(str(tmp_path), "r"), ActorGauge()
    writer = LedgerWriter(ledger, actor.id, 1, most_seconds=1.0, observer=observer.of_actor())
    writer.heartbeat(Heartbeat(actor.reading()))
    # As Python does to every pool at its end.
    writer._pulse.shutdown()
    first = ledger.heartbeats()
    writer.heartbeat(Heartbeat(actor.reading(), ended=1))
    assert ledger.heartbeats() == first and len(first) == 1
