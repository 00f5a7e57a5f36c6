"""The model's stage: rows with tokens in, receipts out. A plain class; Ray makes an actor of it."""

import asyncio

import pyarrow as pa

from configs.errors import LonghaulError, ModelError, StorageError
from pipeline.actor.assignment import RECEIPT, Assignment
from pipeline.actor.engine_driver import EngineDriver
from pipeline.cluster import node, preemption
from pipeline.documents.handover import read_rows, reason
from pipeline.schemas.tables import Row
from pipeline.telemetry import logs


class SummarizeStage:
    """Loads the model once. Concurrent calls share its engine, so that the tail of one batch overlaps the next.

    What stops the run (a model that does not load, a store that is gone, device after device that fails) travels back
    as receipts of status `fatal`: Ray keeps only the text of an exception, not its class.
    """

    def __init__(self, assignment: Assignment) -> None:
        logs.configure()
        self._driver = EngineDriver(assignment, preemption.leave, node.labels(), node.own_id(), node.is_alive)
        self._driver.start()
        preemption.PreemptionWatch(self._driver.preempt).start()

    def __del__(self) -> None:
        """Ray Data drops it in an actor that it lets go, before the process ends."""
        if (driver := getattr(self, "_driver", None)) is not None:
            driver.close()

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """A batch of `READ_ROW` becomes a batch of `RECEIPT`, all of them in the ledger, or fatal."""
        rows = read_rows(batch)
        try:
            receipts = await self._receipts(rows)
        except LonghaulError as error:
            fatal = {"status": "fatal"} | reason(error)
            receipts = [{"document_id": row["document_id"]} | fatal for row in rows]
        return pa.Table.from_pylist(receipts, RECEIPT)

    async def _receipts(self, rows: list[Row]) -> list[Row]:
        for row in rows:
            # The reader lost the store or the tokenizer, not the document.
            for fatal in (StorageError, ModelError):
                if row["error_class"] == fatal.__name__:
                    raise fatal(row["error_message"])
        return await asyncio.gather(*map(asyncio.wrap_future, self._driver.submit(rows)))
