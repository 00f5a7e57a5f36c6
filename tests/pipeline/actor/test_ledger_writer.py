"""What an actor writes beside its engine."""

from pipeline.actor.gauge import Actor
from pipeline.actor.ledger_writer import LedgerWriter
from pipeline.ledger.records import Beat
from pipeline.ledger.run_folder import Ledger


def test_a_heartbeat_while_the_process_ends_is_left_out(tmp_path):
    ledger, actor = Ledger(str(tmp_path), "r"), Actor()
    writer = LedgerWriter(ledger, actor.id, 1)
    writer.beat(Beat(actor.reading()))
    # As Python does to every pool at its end.
    writer._pulse.shutdown()
    first = ledger.beats()
    writer.beat(Beat(actor.reading(), ended=1))
    assert ledger.beats() == first and len(first) == 1
