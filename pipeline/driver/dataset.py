"""The Ray Data plan: manifest -> readers (CPU tasks) -> model (actor pool) -> receipts. Ray is imported here, in
metrics.py, in pool.py, in pipeline/cluster/ and in pipeline/training/workers.py alone."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, TaskPoolStrategy
from ray.data._internal.execution.execution_callback import ExecutionCallback

from configs import errors
from configs.errors import ConfigError
from configs.hardware import GPUS
from configs.labels import ACCELERATOR_LABEL
from configs.placement import Selector
from configs.settings import ModelSettings, SummarizeConfig
from pipeline.actor.assignment import Assignment
from pipeline.actor.summarize_stage import SummarizeStage
from pipeline.cluster import connection, node
from pipeline.documents.extracts import ExtractPrompts
from pipeline.documents.read_stage import read_batch
from pipeline.driver.pool import Wanted, size_pool, wait_for_the_first
from pipeline.ledger import stop
from pipeline.schemas.attempt import BEGUN, Begun
from pipeline.schemas.document import MANIFEST, Document

ROOT = Path(__file__).parents[2]
MAX_BLOCKS = 400
"""A block costs the driver some 40 ms."""
READER_MEMORY = 512 * 1024 * 1024
"""What a reader reserves beside a document's memory. Resources unlike the actor's also keep Ray from fusing reading
into the actor."""

TODO = pa.schema([*MANIFEST, ("state_uri", pa.string()), ("earlier", pa.list_(BEGUN))])


@dataclass(frozen=True)
class Todo:
    """A document that is to be summarized."""

    document: Document
    state_uri: str | None = None
    """Of a state to resume from, if there is one."""
    earlier: Sequence[Begun] = ()
    """Attempts that earlier starts of the run made."""

    def as_row(self) -> dict[str, Any]:
        """A row of TODO."""
        earlier = [asdict(begun) for begun in self.earlier] or None
        return self.document.as_row() | {"state_uri": self.state_uri, "earlier": earlier}


@dataclass(frozen=True)
class Cluster:
    """What Ray says it has."""

    num_gpus: float
    can_grow: bool
    """Not so for one that was started here for this run."""
    gpu_nodes: Sequence[tuple[str, Mapping[str, str]]] = ()
    """Of each node with GPUs that is there, what Ray calls them, and the node's labels."""


@contextmanager
def cluster(config: SummarizeConfig) -> Iterator[Cluster]:
    """Join the cluster of `run.ray_address` or RAY_ADDRESS, or start Ray on this machine, and leave it in the end."""
    engine = config.engine
    needed = engine.actors.min * engine.cpus_per_actor + engine.readers
    with connection.joined(config.run.ray_address, needed) as can_grow:
        found = connection.resources()
        if not can_grow:
            require_memory(found.get("memory", 0.0), config)
        yield Cluster(found.get("GPU", 0.0), can_grow, node.gpu_nodes())


def require_memory(num_bytes: float, config: SummarizeConfig) -> None:
    """Raises ConfigError if this machine is the whole cluster and too small for the memory of one reader beside the
    actors that are asked for from the start: Ray would wait without end."""
    needed = READER_MEMORY + config.input.max_document_memory
    of_actors = (config.placement.memory_bytes or 0) * config.engine.actors.min
    if num_bytes < needed:
        raise ConfigError(
            f"input.max_document_memory = {config.input.max_document_memory}: a reader reserves {needed} bytes, and "
            f"this machine has {num_bytes:.0f} for Ray; lower it"
        )
    if num_bytes < needed + of_actors:
        raise ConfigError(
            f"placement.memory_gib = {config.placement.memory_gib}: engine.actors.min = {config.engine.actors.min} "
            f"reserve {of_actors} bytes and a reader {needed}, and this machine has {num_bytes:.0f} for Ray; lower it"
        )


class _EnoughError(Exception):
    """Nothing more is to come, although documents are left."""


class _Watch(ExecutionCallback):
    """Ray Data makes one by its class, in the driver alone, and asks it several times a second. What it raises ends the
    execution, with its actors and tasks, and is raised where receipts are waited for."""

    is_over: ClassVar[Callable[[], bool]]
    prepare: ClassVar[Callable[[Any], None]]

    def before_execution_starts(self, executor: Any) -> None:
        _Watch.prepare(executor)

    def on_execution_step(self, executor: object) -> None:
        if _Watch.is_over():
            raise _EnoughError


def receipts(
    todo: Sequence[Todo],
    assignment: Assignment,
    choices: Sequence[Selector],
    is_over: Callable[[], bool],
) -> Iterator[dict[str, Any]]:
    """Summarize documents on nodes of choice, the best first, and yield a `RECEIPT` for each as it is published.

    `is_over` is asked several times a second, also while none comes: whether the rest need not go through the stages.
    Raises the LonghaulError that stopped an actor or a reader, or what `is_over` raises.
    """
    _configure_ray_data()
    wanted = wanted_actors(assignment.config, assignment.device != "cpu", choices)
    _Watch.is_over = is_over
    with suppress(_EnoughError), wanted.room() as room:
        at_first = wanted.count.min if room is None else wait_for_the_first(wanted, room, is_over)
        if at_first:
            _Watch.prepare = partial(size_pool, wanted=wanted, room=room)
            yield from _receipts(todo, assignment, wanted, at_first)


def _receipts(todo: Sequence[Todo], assignment: Assignment, wanted: Wanted, at_first: int) -> Iterator[dict[str, Any]]:
    dataset = _dataset(blocks(todo, assignment.config.engine.documents_per_batch), assignment, wanted, at_first)
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        assert isinstance(batch, pa.Table)
        for receipt in batch.to_pylist():
            if receipt["status"] == "fatal":
                raise getattr(errors, receipt["error_class"])(receipt["error_message"])
            yield receipt


def blocks(todo: Sequence[Todo], batch: int) -> list[pa.Table]:
    """Tables of the documents, the largest objects first, so that no long one starts when the rest is done.

    Documents of one archive or table stay together and in order, for readers that must pass over what comes before.
    """
    by_uri = sorted(todo, key=_place)
    objects = [list(group) for _, group in groupby(by_uri, key=lambda item: item.document.source_uri)]
    objects.sort(key=lambda group: sum(item.document.size_bytes for item in group), reverse=True)
    rows = [item.as_row() for group in objects for item in group]
    size = max(batch, -(-len(rows) // MAX_BLOCKS))
    return [pa.Table.from_pylist(rows[start : start + size], TODO) for start in range(0, len(rows), size)]


def _place(item: Todo) -> tuple[str, list[int]]:
    return item.document.source_uri, [place.offset or 0 for place in item.document.within]


def wanted_actors(config: SummarizeConfig, on_gpu: bool, choices: Sequence[Selector]) -> Wanted:
    """The actors of a run."""
    engine, placement = config.engine, config.placement
    takes: dict[str, Any] = {"num_cpus": 0, "num_gpus": 1} if on_gpu else {"num_cpus": engine.cpus_per_actor}
    if placement.memory_bytes is not None:
        takes["memory"] = placement.memory_bytes
    return Wanted(engine.actors, takes, choices, placement.fallback_after, engine.readers)


def _dataset(tables: list[pa.Table], assignment: Assignment, wanted: Wanted, at_first: int) -> Dataset:
    engine = assignment.config.engine
    # Enough calls at once to fill the slots, and as many again: receipts wait for those of other documents.
    calls = 2 * -(-engine.slots_on(assignment.device) // engine.documents_per_batch)
    run = (assignment.output_uri, assignment.run_id, assignment.start)
    is_stopping = partial(stop.stop_requested, *run, assignment.deadline_us)
    return _read(tables, assignment.config, assignment.device != "cpu", is_stopping).map_batches(
        SummarizeStage,
        fn_constructor_args=(assignment,),
        batch_format="pyarrow",
        batch_size=engine.documents_per_batch,
        compute=ActorPoolStrategy(
            min_size=1,
            max_size=wanted.count.max,
            initial_size=at_first,
            max_tasks_in_flight_per_actor=calls,
            max_concurrent_calls_per_actor=calls,
        ),
        **wanted.options,
    )


def _read(tables: list[pa.Table], config: SummarizeConfig, on_gpu: bool, is_stopping: Callable[[], bool]) -> Dataset:
    # Where nothing else is asked for, an actor makes them, whose time is metered.
    extracts = None if config.is_extract_only else ExtractPrompts.of(config.prompts, config.sections, config.citations)
    model = ModelSettings() if config.is_extract_only else config.model
    told = {"settings": config.input, "model": model, "sections": config.sections, "extracts": extracts or None}
    return ray.data.from_arrow(tables).map_batches(
        partial(_read_batch, is_stopping, **told),
        batch_format="pyarrow",
        batch_size=config.engine.documents_per_batch,
        compute=TaskPoolStrategy(size=config.engine.readers),
        num_cpus=1,
        memory=READER_MEMORY + config.input.max_document_memory,
        **(off_gpus(config.placement.gpus) if on_gpu else {}),
    )


def off_gpus(types: Sequence[str]) -> dict[str, Any]:
    """Options of a Ray task that rather runs on a node without a GPU, if one has room for it: without those of
    configs/hardware.py and of these types."""
    # As Ray writes names of several words.
    types = sorted({name.replace(" ", "-") for name in (*GPUS, *types)})
    return {
        "label_selector": {ACCELERATOR_LABEL: f"!in({', '.join(types)})"},
        "fallback_strategy": [{"label_selector": {}}],
    }


def _read_batch(is_stopping: Callable[[], bool], batch: pa.Table, **options: Any) -> pa.Table:
    """`read_batch` in a reader."""
    return read_batch(batch, **options, stopping=is_stopping())


def _configure_ray_data() -> None:
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Waiting for spot capacity is not a failure.
    context.execution_no_progress_timeout_s = -1
    context.custom_execution_callback_classes = [_Watch]
    logging.getLogger("ray.data").setLevel(logging.ERROR)
