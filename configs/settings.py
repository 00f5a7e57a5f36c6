"""Settings of a summarization run, as `jobs.summarize` takes them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from configs import json_schema
from configs.credentials import Uri
from configs.deadline import deadline_after
from configs.loader import Settings

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_.-]{0,127}$"
MIB = 1024 * 1024
MAX_INSTRUCTION_CHARS = 131_072


class InputSettings(Settings):
    """What to read."""

    sources: tuple[Uri, ...] = Field(min_length=1)
    """Files, directories, globs, s3:// prefixes (gs:// and abfs:// with their fsspec packages), or manifests
    (.manifest.parquet or .manifest.jsonl holding document_id and uri). A directory or prefix is read with all below it.
    A manifest counts only where it is given, by its name or by a glob that ends in .manifest.jsonl or
    .manifest.parquet; one that is found below a prefix is ignored, with a line in the log. sample://python-reference/
    is the Python language reference, for trying things out. Never with credentials in the URI."""
    allow_outside: bool = False
    """Whether a manifest may name documents outside its own directory (symbolic links followed) or bucket. If not, each
    that it names there is a failure row, and nothing there is opened."""
    text_field: str = "text"
    """Field of a JSON line that holds the text; each line of a .jsonl file is a document."""
    id_field: str = "id"
    """Field of a JSON line that names the document; without it the line number does."""
    inline_bytes: int = Field(8 * MIB, ge=1)
    """The tokens of a document with at most this much text (as UTF-8) travel from a reader to an actor. A longer one is
    streamed by the actor itself, piece by piece, so that memory does not grow with it."""
    max_document_bytes: int = Field(256 * MIB, ge=1)
    """HTML, PDF and JSON over this size, after decompression, become failure rows: they must be parsed whole. Plain
    text, Markdown and logs, compressed or not, have no limit of bytes."""
    max_document_tokens: int = Field(100_000_000, ge=1)
    """A document with more tokens becomes a failure row. One that is streamed is read up to there before that is
    known."""
    max_expansion: int = Field(200, ge=1)
    """Gzip and zstd that expand to more than this many times their size become failure rows. Checked from 4 MiB of
    content on; prose expands to 3 or 4 times its size, logs to 10 or 50 times theirs."""
    max_document_seconds: float = Field(600.0, gt=0)
    """CPU time that a reader may spend on a document, such as a PDF that never ends, before it becomes a failure row.
    Waiting for the store does not count, up to ten times as long on the clock. An actor gives up on a document from
    which no more text has come for this long on the clock."""
    max_document_memory: int = Field(2048 * MIB, ge=64 * MIB)
    """Bytes of memory that a reader may take for a document before it becomes a failure row. HTML takes some 5 to 40
    times its size, JSON 3 to 6 times. Each of engine.readers reserves as much from Ray, and 512 MiB for itself."""


class OutputSettings(Settings):
    """Where rows land."""

    uri: Uri = "output"
    """Directory or s3:// prefix for summaries/, failures/, costs/, jobs/ and _runs/."""
    allow_unsafe_store: bool = False
    """Use an object store that ignores If-None-Match and overwrites existing objects. What may be lost on it: two
    drivers that start at the same moment may both run, a document may be paid for and published twice, and the costs of
    one of two attempts may vanish. Otherwise a run into such a store is refused."""


class ModelSettings(Settings):
    """Which model reads."""

    uri: Uri = "default"
    """Directory, s3:// prefix or hub id (owner/name or owner/name@revision) with config.json and weights; `default` is
    the small model that ships here. A directory of that name takes precedence over the hub."""
    tokenizer: Uri | None = None
    """Directory, s3:// prefix or hub id with tokenizer.json. Unset: model.uri. The official repositories have none;
    state-spaces/mamba3-* take NousResearch/Meta-Llama-3.1-8B, state-spaces/mamba2-* EleutherAI/gpt-neox-20b."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where the Ray cluster has one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the weights; `auto` is bfloat16 on a GPU and float32 on a CPU. The state is float32 either way."""

    def dtype_on(self, device: str) -> str:
        """That of the weights on `cpu` or `cuda`."""
        if self.dtype != "auto":
            return self.dtype
        return "float32" if device == "cpu" else "bfloat16"


class PromptSettings(Settings):
    """One question asked of every document."""

    name: str = Field("summary", pattern=NAME_PATTERN)
    """Lands in the column prompt_id."""
    instruction: str = Field("Summarize the document.", min_length=1)
    """What the model is asked after it has read the document."""
    max_tokens: int = Field(128, ge=1, le=65536)
    """Longest answer, in tokens."""
    temperature: float = Field(0.0, ge=0, le=10)
    """0 always takes the likeliest token."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Sample from the likeliest tokens that together hold this probability."""
    seed: int = 0
    """Of the sampling; each document draws from its own stream, so that a rerun gives the same text."""
    # Left out where it is unset: settings without one keep the fingerprint that they had before there was this field.
    json_schema: dict[str, object] | None = Field(None, exclude_if=lambda schema: schema is None)
    """JSON Schema that the answer must fit, as a mapping or as the path of a .json or .yaml file. The model sees it.
    The answer is repaired where that makes it JSON; one that does not fit is generated once more, then rejected with
    the reason."""

    @field_validator("json_schema", mode="before")
    @classmethod
    def _read_schema(cls, value: object, info: ValidationInfo) -> object:
        try:
            return None if value is None else json_schema.check(json_schema.read(value))
        except ValueError as error:
            raise ValueError(f"prompt {info.data.get('name', '')!r}: {error}") from error

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.instruction.strip():
            raise ValueError(f"prompt {self.name!r}: instruction = {self.instruction!r} says nothing")
        if len(self.instruction) > MAX_INSTRUCTION_CHARS:
            raise ValueError(
                f"prompt {self.name!r}: instruction has {len(self.instruction):,} characters, "
                f"at most {MAX_INSTRUCTION_CHARS:,} are read after each document"
            )
        return self


class SectionSettings(Settings):
    """Questions about each section of a document, asked at its end about everything read so far."""

    prompts: tuple[PromptSettings, ...] = (
        PromptSettings(name="section", instruction="Summarize the section that you have just read."),
    )
    """A row for each section and prompt."""
    headings: bool = True
    """Sections end at headings: Markdown, HTML, numbered lines, chapters. Else every `most_tokens`."""
    most_tokens: int = Field(8192, ge=64)
    """A section without a heading in it ends after this many tokens."""
    least_tokens: int = Field(256, ge=1)
    """A shorter section is joined with the next one."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.prompts:
            raise ValueError("sections.prompts is empty: ask something of a section, or leave sections out")
        if self.least_tokens > self.most_tokens:
            raise ValueError(f"least_tokens = {self.least_tokens} is more than most_tokens = {self.most_tokens}")
        return self


def every_prompt(prompts: tuple[PromptSettings, ...], sections: SectionSettings | None) -> tuple[PromptSettings, ...]:
    """Those about whole documents, then those about sections."""
    return (*prompts, *(sections.prompts if sections else ()))


class EngineSettings(Settings):
    """How the actors work."""

    slots: int | None = Field(None, ge=1)
    """Documents in flight per actor; each costs the memory of two recurrent states, its own and an answer's. Unset: 16
    on a CPU, 128 on a GPU. A GPU takes no more than fit beside the weights."""
    step_tokens: int | None = Field(None, ge=1, le=131_072)
    """Tokens that one step reads, taken from all documents in the slots. Unset: 2048 on a CPU, 16384 on a GPU. Bounded,
    so that no kernel's 32-bit offset overflows and memory stays small."""
    actors: int = Field(1, ge=1)
    """Model actors, each on its own device."""
    cpus_per_actor: Annotated[int, Field(ge=1)] = 1
    """CPUs that an actor reserves; on a machine without a GPU also its torch threads."""
    readers: int = Field(1, ge=1)
    """Tasks that fetch, extract and tokenize documents ahead of the actors."""
    documents_per_batch: int = Field(4, ge=1)
    """Documents that travel together from a reader to an actor."""
    max_attempts: int = Field(4, ge=2, le=100)
    """A document is a failure when the process that reads it has died so often, or its device failed, without getting
    further. For the last two of them it is in quarantine, with the engine to itself, so that its neighbors are not
    blamed with it. A node that goes away counts a quarter: spot nodes do so without notice."""

    def slots_on(self, device: str) -> int:
        """Documents in flight at a time on a type of torch device."""
        return self.slots or (16 if device == "cpu" else 128)

    def step_tokens_on(self, device: str) -> int:
        """Tokens of one pass on a type of torch device."""
        return self.step_tokens or (2048 if device == "cpu" else 16_384)


class SnapshotSettings(Settings):
    """How partially read documents are kept safe."""

    max_lost_device_seconds: float = Field(60.0, gt=0)
    """What a lost actor may cost at most: when more of its device's time is at stake, the state of the document that
    has most of it is saved. A document that would be read again in less than 50 times what saving it takes never is."""


class StateSettings(Settings):
    """Which states outlive a run."""

    ttl_days: float = Field(30.0, gt=0)
    """Days until `jobs.states expire` removes a state."""
    storage_gib_month: Decimal = Field(Decimal("0.023"), ge=0, max_digits=12, decimal_places=6)
    """Price of storing a GiB for a month, in price.currency; the default is S3 Standard's. A state is kept only where
    reading its document again would cost at least as much as storing the state for ttl_days, at the actor's price and
    measured speed. That the document grows or is asked about is taken as certain. 0 keeps all."""


class PriceSettings(Settings):
    """What a device costs; the unit of every cost row."""

    cpu_hour: Decimal = Field(Decimal("0.04"), ge=0, max_digits=12, decimal_places=6)
    """Price of one CPU for one hour, where actors run on CPUs."""
    gpu_hour: Decimal | None = Field(None, ge=0, max_digits=12, decimal_places=6)
    """Price of one GPU for one hour, whichever it is. Unset: that of each actor's GPU in the catalog."""
    node_hour: Decimal | None = Field(None, ge=0, max_digits=12, decimal_places=6)
    """Price of each of the cluster's other nodes for one hour: the head and readers' machines, which can hold no actor.
    Unset: they are not counted."""
    catalog: str | None = None
    """Your own YAML in the form of configs/prices.yaml, whose rows take precedence; `python -m jobs.prices refresh`
    writes one. Unset: the shipped rows alone."""
    provider: str | None = None
    """Whose prices in the catalog, as `aws`. Unset: those of the cloud that the node is in (`aws`, `gcp` or `azure`),
    by its Ray label longhaul/provider or its firmware. Where that is not known either, and several prices fit, the run
    is refused."""
    region: str | None = None
    """Prices of which region. Unset: of the node's, by its Ray label ray.io/availability-region or its cloud."""
    instance_type: str | None = None
    """Prices of which machine, as `p5.48xlarge`. Unset: of the node's, by its Ray label longhaul/instance-type or its
    cloud."""
    market: Literal["auto", "spot", "on_demand"] = "auto"
    """How the nodes were bought. `auto`: by each node's Ray label ray.io/market-type, which is `spot` or `on-demand`; a
    node without it was bought on demand."""
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$")
    """ISO 4217 code."""


class RunSettings(Settings):
    """This run."""

    id: str | None = Field(None, pattern=NAME_PATTERN)
    """Names the run in paths and rows; the same id again resumes that run. Unset: the unfinished run with the same
    settings if there is one, else a new id."""
    ray_address: str | None = None
    """`local` starts Ray here; `auto` or host:port joins a cluster. Unset: RAY_ADDRESS if it is set, else `local`."""
    deadline: str | None = None
    """When to stop: a time of day on the driver's machine as 06:00, the next one from the start, or a moment as
    2026-11-23T06:00:00+00:00. Work under way is saved, finished work is committed, and the next start of the same
    command resumes inside the same documents."""
    budget_usd: Decimal | None = Field(None, gt=0, max_digits=12, decimal_places=6)
    """What this start may spend before it stops in the same way; the next start has as much again."""
    summary_so_far: bool = False
    """Whether a document that is partially read when the run stops gets a summary of what was read, marked as truncated
    and partial. A later start resumes the document and replaces that summary."""
    max_failed_share: float = Field(0.5, gt=0, le=1)
    """The run stops, as at its budget, when more than this share of the documents that this start has been through have
    failed: most likely a setting is wrong, as input.text_field. 1 never stops it."""
    max_failed_after: int = Field(1000, ge=1)
    """Documents that must have ended before max_failed_share counts."""
    heartbeat_seconds: float = Field(2.0, ge=0.2, le=300)
    """How often an actor writes down its meter: the freshness of the progress line, and the most that a lost actor
    can leave unaccounted."""

    @field_validator("deadline", mode="before")
    @classmethod
    def _read_deadline(cls, value: object) -> object:
        # YAML takes 22:30 for a number to the base of 60, and a moment for one.
        if isinstance(value, int) and not isinstance(value, bool):
            value = f"{value // 60:02d}:{value % 60:02d}"
        if isinstance(value, datetime):
            value = value.isoformat()
        if isinstance(value, str):
            deadline_after(value, datetime.now().astimezone())
        return value

    def deadline_after(self, start: datetime) -> datetime | None:
        """The moment to stop at, with its zone, of a run that starts at `start`."""
        return None if self.deadline is None else deadline_after(self.deadline, start)


class SummarizeConfig(Settings):
    """A summarization run: documents in, summaries and their costs out."""

    input: InputSettings
    output: OutputSettings = OutputSettings()
    model: ModelSettings = ModelSettings()
    prompts: tuple[PromptSettings, ...] = Field((PromptSettings(),), min_length=1)
    """Questions asked of each document after one reading, a row for each."""
    preamble: str | None = Field(None, exclude_if=lambda value: value is None)
    """What the model reads before every document, as who it is and what matters. It is read once per actor: documents
    begin at the state after it."""
    sections: SectionSettings | None = Field(None, exclude_if=lambda value: value is None)
    """Unset: documents are asked about as a whole alone."""
    engine: EngineSettings = EngineSettings()
    incremental: bool = False
    """Keep documents' states, so that of a document that has grown only what is new is read, and `jobs.states ask` can
    put questions to it later. A document of less than some 4096 characters, or one whose state costs more to keep than
    the document to read (states.storage_gib_month), is read again."""
    states: StateSettings = StateSettings()
    snapshot: SnapshotSettings = SnapshotSettings()
    price: PriceSettings = PriceSettings()
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [prompt.name for prompt in every_prompt(self.prompts, self.sections)]
        if len(set(names)) != len(names):
            raise ValueError(f"prompts have the names {names}: give each its own name")
        if self.run.budget_usd is not None and self.price.currency != "USD":
            raise ValueError(f"run.budget_usd needs prices in USD, price.currency is {self.price.currency!r}")
        return self
