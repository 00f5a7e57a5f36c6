"""An actor's identity, meter and counters, of which its readings are made."""

import platform
import resource
import sys
from decimal import Decimal
from uuid import uuid4

from models.engine.backend import Kernels
from models.engine.request import Pass
from pipeline.billing.metering import UNKNOWN, Meter, Rate, now_us
from pipeline.ledger.records import MeterReading, prices_of

RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class ActorGauge:
    """An actor's id, meter and rate. Create it first in the actor's process: the meter starts with it."""

    def __init__(self, rate: Rate = UNKNOWN, start: int = 0) -> None:
        """Set `rate` before the first reading of the meter. `start` is the number of the run's start."""
        self.id = f"actor-{uuid4().hex[:12]}"
        self.node = platform.node()
        self.rate = rate
        self.kernels: Kernels | None = None
        """What runs the actor's model, once that is loaded."""
        self._start = start
        self.meter = Meter()
        self._started_us = now_us()
        self._tokens_read = self._tokens_decoded = self._documents = 0
        self.ended = 0
        """Documents that finished or failed."""

    def count(self, done: Pass) -> None:
        """Charge a pass to its documents."""
        if done.shares:
            ended_ns = done.mark.ended_ns if done.mark else None
            self.meter.spend_on(done.shares, done.kind == "decode", ended_ns)
        self._tokens_read += done.document_tokens
        self._tokens_decoded += done.answer_tokens
        self._documents += sum(not finished.so_far for finished in done.finished)

    def cost_of_reading(self, tokens: int) -> Decimal | None:
        """Cost of reading this many tokens at the actor's price and its speed so far; None before it has read any."""
        microseconds, read = self.meter.prefill()
        return self.rate.cost(microseconds) * tokens / read if read else None

    def reading(self) -> MeterReading:
        """What the meter and the counters show now."""
        total_us, overheads = self.meter.totals()
        return MeterReading(
            actor_id=self.id,
            node=self.node,
            device_type=self.rate.device_type,
            devices=self.rate.devices,
            **prices_of(self.rate),
            currency=self.rate.currency,
            started_us=self._started_us,
            read_us=now_us(),
            total_us=total_us,
            startup_us=overheads["startup"],
            load_us=overheads["load"],
            idle_us=overheads["idle"],
            snapshot_us=overheads["snapshot"],
            drain_us=overheads["drain"],
            tokens_read=self._tokens_read,
            tokens_decoded=self._tokens_decoded,
            documents=self._documents,
            peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT,
            market=self.rate.market,
            provider=self.rate.provider,
            region=self.rate.region,
            instance_type=self.rate.instance_type,
            start=self._start,
            instance_id=self.rate.instance_id,
            kernels=self.kernels.name if self.kernels else "",
            kernels_error=str(self.kernels.error) if self.kernels and self.kernels.error is not None else "",
        )
