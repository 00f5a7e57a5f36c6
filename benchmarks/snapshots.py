"""`python -m benchmarks.snapshots [slots=128] [output=DIR]`: can an actor save all its slots before its node goes?

States of the size of Mamba-3 SISO 1.5B, written through the ledger's writer as a drain does. Prints JSON: seconds,
GB/s, CPU-seconds per state, and what the writer's threads alone could do without a store (serializing and hashing).
`output` is a folder or an s3:// prefix; a cloud's notice is 30 s or 120 s.
"""

import os
import tempfile
import time
from pathlib import Path

import torch

from benchmarks import measure
from models.engine.request import ReadState
from models.mamba.architecture import MambaConfig
from models.state import State
from pipeline.actor.ledger_writer import LedgerWriter, Saved
from pipeline.documents.tokenize import Position
from pipeline.ledger.run_folder import Ledger
from pipeline.states import snapshot
from pipeline.states.snapshot import Snapshot
from pipeline.telemetry import observer

MAMBA3_SISO_1_5B = {
    "d_model": 2048,
    "n_layer": 24,
    "vocab_size": 128256,
    "d_intermediate": 4096,
    "ssm_cfg": {"layer": "Mamba3", "d_state": 128, "headdim": 64, "chunk_size": 64, "rope_fraction": 0.5},
}


def state_of(config: MambaConfig) -> State:
    shapes = config.ssm_cfg.state_shapes(config.d_model)
    return State.zeros(shapes, config.n_layer, 1).map(torch.randn_like)


def snapshot_of(state: State, index: int) -> Snapshot:
    name = f"document {index}"
    read_state = ReadState({name: state[name].numpy() for name in state}, 1000)
    names = {"document_id": name, "source_uri": name, "title": name, "source_etag": "e", "state_key": "k"}
    made = {"made_by": "text", "tokenized_by": "t", "settings_sha256": "s", "run_id": "r"}
    return Snapshot(**names, **made, position=Position(1000, 4000), sections=(), read_state=read_state)


def main(slots: str, output: str) -> None:
    torch.set_num_threads(1)
    state = state_of(MambaConfig.model_validate(MAMBA3_SISO_1_5B))
    count = int(slots)
    with tempfile.TemporaryDirectory() as directory:
        ledger = Ledger(output or directory, f"benchmark-{os.getpid()}")
        writer = LedgerWriter(ledger, "actor-benchmark", 1, 1.0, observer.of_actor())
        used: list[Saved | None] = []
        begun, begun_cpu = time.monotonic(), time.process_time()
        for index in range(count):
            writer.save(snapshot_of(state, index), used.append)
        writer.flush()
        seconds, cpu_seconds = time.monotonic() - begun, time.process_time() - begun_cpu
        assert None not in used, "a snapshot was not written"
        sizes = [Path(uri).stat().st_size for uri in ledger.snapshots().values()] if not output else []
    alone = measure.cpu_seconds(lambda: snapshot.to_bytes(snapshot_of(state, 0)))
    total = sum(sizes) or count * state.nbytes
    measure.publish(
        "snapshots",
        store=output.partition("://")[0] or "disk",
        slots=count,
        state_bytes=state.nbytes,
        seconds=round(seconds, 2),
        gigabytes_per_second=round(total / seconds / 1e9, 2),
        cpu_seconds_per_state=round(cpu_seconds / count, 4),
        cpu_seconds_to_serialize_and_hash=round(alone, 4),
    )


if __name__ == "__main__":
    main(**measure.arguments(slots="128", output=""))
