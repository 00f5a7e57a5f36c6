"""What an actor writes beside its engine."""

from structlog.testing import capture_logs

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


class Messages:
    """A mailbox in this process, whose head may be away."""

    def __init__(self) -> None:
        self.messages: dict[str, bytes] = {}
        self.is_away = False

    def put(self, name: str, message: bytes) -> None:
        if self.is_away:
            raise TimeoutError("the head does not answer")
        self.messages[name] = message

    def get(self, name: str) -> bytes | None:
        return self.messages.get(name)


def test_with_a_mailbox_the_driver_is_told_each_time_and_the_ledger_seldom(tmp_path):
    ledger, actor, mailbox = Ledger(str(tmp_path), "r"), ActorGauge(start=1), Messages()
    writer = LedgerWriter(ledger, actor.id, 1, 1.0, observer.of_actor(), mailbox, every_seconds=1000)

    def beat(ended: int) -> tuple[int, int]:
        """What the driver and the ledger know then."""
        writer.heartbeat(Heartbeat(actor.reading(), ended=ended))
        for each in (writer._heartbeat_told, writer._heartbeat_written):
            each.result()
        told = Heartbeat.from_bytes(mailbox.messages[f"actors/{actor.id}"])
        return told.ended, ledger.heartbeats()[0].ended

    assert [beat(ended) for ended in (1, 2, 3)] == [(1, 1), (2, 1), (3, 1)]
    mailbox.is_away = True
    with capture_logs() as logs:
        # This one is told in vain, and nobody may know yet.
        beat(4)
        assert [beat(ended) for ended in (5, 6)] == [(3, 5), (3, 6)]
    assert [each["event"] for each in logs] == ["driver_not_told"]
    mailbox.is_away = False
    _, known = beat(7)
    assert beat(8) == (8, known)
    assert writer.stop_reason is None
    mailbox.messages["stops/0001"] = b"budget"
    beat(9)
    assert writer.stop_reason == "budget"
    writer.close(Heartbeat(actor.reading(), ended=10, is_stopped=True))
    assert Heartbeat.from_bytes(mailbox.messages[f"actors/{actor.id}"]).is_stopped
    assert ledger.heartbeats()[0].is_stopped
