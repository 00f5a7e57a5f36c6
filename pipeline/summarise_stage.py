"""The model's stage: rows with tokens in, receipts out. A plain class; Ray makes an actor of it."""

import asyncio

import pyarrow as pa

from pipeline import logs
from pipeline.assignment import RECEIPT, Assignment, read_rows
from pipeline.engine_driver import EngineDriver


class SummariseStage:
    """Loads the model once. Concurrent calls share its engine, so that the tail of one batch overlaps the next."""

    def __init__(self, assignment: Assignment) -> None:
        logs.configure()
        self._driver = EngineDriver(assignment)
        self._driver.start()

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """A batch of `READ_ROW` becomes a batch of `RECEIPT`, all of them in the ledger.

        Raises what stopped the engine or the ledger.
        """
        receipts = [asyncio.wrap_future(self._driver.submit(row)) for row in read_rows(batch)]
        return pa.Table.from_pylist(list(await asyncio.gather(*receipts)), RECEIPT)
