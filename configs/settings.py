"""Settings of a summarization run, as `jobs.summarize` takes them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, ValidationInfo, field_validator, model_validator

from configs import encodings, json_schema
from configs.credentials import Uri
from configs.deadline import deadline_after
from configs.loader import Settings
from configs.placement import ActorCount, PlacementSettings

EXTRACTS = "key-sentences"
"""What stands for a model's id where none is asked, or beside an extract."""
BackendName: TypeAlias = Literal["auto", "native", "transformers"]
NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_.-]{0,127}$"
MIB = 1024 * 1024
MAX_INSTRUCTION_CHARS = 131_072


class InputSettings(Settings):
    """What to read."""

    sources: tuple[Uri, ...] = Field(min_length=1)
    """One, or a list, of files, directories, globs, s3:// prefixes (gs:// and abfs:// with their fsspec packages), or
    manifests (.manifest.parquet or .manifest.jsonl with the columns document_id and uri). Directories and prefixes are
    read recursively. Of archives (.zip, .tar, .tar.gz and the like) each file is a document, of tables and JSON lines
    each row or line. A manifest is used only if it is given by name, or by a glob that ends in .manifest.jsonl or
    .manifest.parquet; one that is found below a prefix is skipped and logged. sample://python-reference/ is the Python
    language reference, for trying things out. Credentials in a URI are rejected."""
    allow_outside: bool = False
    """Whether a manifest may name documents outside of its own directory (symbolic links followed) or bucket. If not,
    each of those becomes a failure row and is never opened."""
    text_field: str = "text"
    """Field of a JSON line, or column of a table, that holds the text: each line of a .jsonl file and each row of a
    Parquet, Arrow or CSV file with such a column is a document. A CSV file without one is a document as a whole, a
    Parquet or Arrow file without one a failure row. The field or column `title`, if there is one, holds the title."""
    id_field: str = "id"
    """Field of a JSON line, or column of a table, that holds the document's id. A line or row without it is named by
    its number."""
    retry_failed: bool = False
    """Try documents again that failed in an earlier run because of what is in them: empty, damaged, not text. Otherwise
    they are counted in the log and passed over until their content or the settings change; documents that failed for
    other reasons, such as the store or a limit of memory, are tried again by every run."""
    html: Literal["all", "main"] = "all"
    """Which text of HTML is read: `all` that a browser shows, but for navigation and buttons, as filings and reports
    need it; or the `main` text of pages of the web, without what surrounds it. Where none is found, all is read, and
    the row's warnings say so. Submissions to EDGAR are always read as a whole."""
    ocr: Literal["auto", "off"] = "auto"
    """`auto` reads pages that are pictures with tesseract where it is installed, in all of its installed languages up
    to four; on average a page takes a second or two of a reader. `off` leaves them out, as without tesseract. The
    column warnings of the tables counts both."""
    encoding: str | None = None
    """Encoding of all plain text, HTML and the like without a byte order mark, such as `windows-1250`, `koi8-r` or
    `cp852`. Unset: found out for each document, by what it declares, else by a guess; a document whose encoding is not
    clear becomes a failure row that names the candidates."""
    errors: Literal["replace", "strict"] = "replace"
    """What damaged bytes of text do. `replace` reads on: up to one bad byte in a thousand characters (three in a short
    text) become U+FFFD, NULs are left out, and the column `warnings` counts both; with more, the document becomes a
    failure row. With `strict`, the first bad byte makes it one."""
    inline_bytes: int = Field(8 * MIB, ge=1)
    """Bytes of text (as UTF-8) up to which a reader passes a document's tokens to an actor. The actor streams longer
    documents itself, so that memory does not grow with their length."""
    max_document_bytes: int = Field(256 * MIB, ge=1)
    """HTML, PDF and JSON larger than this after decompression become failure rows: they must be parsed as a whole.
    Plain text, Markdown and logs, compressed or not, have no limit in bytes."""
    max_document_tokens: int = Field(100_000_000, ge=1)
    """A document with more tokens becomes a failure row. A streamed document is read up to the limit first."""
    max_expansion: int = Field(200, ge=1)
    """Compressed documents, and files in archives, that expand by more than this factor become failure rows. Checked
    once there are 4 MiB of content. Prose expands 3 or 4 times, logs 10 to 50 times. What was packed with a long window
    (`zstd --long=31`) takes as much memory as the window, up to 2 GiB."""
    max_document_seconds: float = Field(600.0, gt=0)
    """CPU seconds that a reader may spend on a document, such as a PDF that never ends, before it becomes a failure
    row. Waiting for the store does not count, up to ten times this limit in wall time. For documents that an actor
    streams, the limit is wall time without progress."""
    max_document_memory: int = Field(2048 * MIB, ge=64 * MIB)
    """Bytes of memory that a reader may use for a document before it becomes a failure row. HTML needs about 5 to 40
    times its size, JSON 3 to 6 times. Each of engine.readers reserves this much from Ray, plus 512 MiB for itself."""

    @field_validator("sources", mode="before")
    @classmethod
    def _take_one(cls, value: object) -> object:
        """A path by itself, whatever YAML would make of its commas, is a list of one."""
        return (value,) if isinstance(value, str) and value.strip() else value

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, value: str | None) -> str | None:
        if value is not None and encodings.codec_of(value) is None:
            raise ValueError(
                f"{value!r} is no known encoding: give a name such as utf-8, windows-1250, iso-8859-2 or shift_jis"
            )
        return value


class OutputSettings(Settings):
    """Where rows land."""

    uri: Uri = "output"
    """Directory or s3:// prefix for summaries/, failures/, costs/, jobs/ and _runs/."""
    allow_unsafe_store: bool = False
    """Use an object store that ignores conditional writes (If-None-Match). Without them, two drivers that start at the
    same time may both run, a document may be processed and paid for twice, and the cost of one of two attempts may be
    lost. If false, a run with such a store is refused."""


class ModelSettings(Settings):
    """Which model reads."""

    uri: Uri = "default"
    """Directory, s3:// prefix or hub id (owner/name or owner/name@revision) with config.json and weights; `default` is
    the small model that ships with Longhaul. An existing directory takes precedence over the hub."""
    tokenizer: Uri | None = None
    """Directory, s3:// prefix or hub id with tokenizer.json. Unset: model.uri. The official repositories have none:
    state-spaces/mamba3-* use NousResearch/Meta-Llama-3.1-8B, mamba2-* and mamba-* there EleutherAI/gpt-neox-20b."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses GPUs if the Ray cluster has any."""
    dtype: Literal["auto", "float32", "bfloat16", "int8", "float8"] = "auto"
    """Of the weights; `auto` is bfloat16 on a GPU and float32 on a CPU. `int8` and `float8` are of the matrices of all
    layers, which then take half the memory of bfloat16, in which such a model computes; for models with attention that
    run natively. A recurrent state is float32 in any case."""
    kernels: Literal["auto", "triton", "mamba-ssm", "torch"] = "auto"
    """What runs the model on a GPU: our Triton kernels, mamba-ssm's operators (the extra `peers`; Mamba-3 SISO alone),
    or plain PyTorch, many times slower. Kernels are compared with plain PyTorch when an actor loads the model: `auto`
    takes the first of these that agrees, with a warning where none of the kernels does; others by name, or not at
    all."""

    chat: Literal["auto", "off"] = "auto"
    """`auto` asks a model by the chat template that is found beside its tokenizer, if there is one: document and
    instruction are the user's turn, `preamble` is the system's, and thinking is switched off where the template can.
    `off` asks in plain text, as base models are asked, some of which bring a template too."""

    backend: BackendName = "auto"
    """`native` runs the architectures of Longhaul: Mamba 1 to 3, Granite 4 and Nemotron hybrids, and transformers such
    as Llama, Mistral and Qwen 3. `transformers` runs any other causal language model of that library, of 5.15 or newer
    (the extra `transformers`), from safetensors and without code of the checkpoint: one document a forward, and slower.
    A model is refused where it forgets between the pieces of a document, which is measured when it is loaded. `auto` is
    native where that is possible."""

    @model_validator(mode="after")
    def _check_kernels(self) -> Self:
        if self.backend == "transformers" and self.kernels != "auto":
            raise ValueError(f"kernels = {self.kernels!r} run models natively, and backend = 'transformers'")
        if self.backend == "transformers" and self.dtype in ("int8", "float8"):
            raise ValueError(f"dtype = {self.dtype!r} is of models that run natively, and backend = 'transformers'")
        if self.device == "cpu" and self.kernels in ("triton", "mamba-ssm"):
            raise ValueError(f"kernels = {self.kernels!r} run on a GPU, and device = 'cpu'")
        return self

    def dtype_on(self, device: str) -> str:
        """Name of the weights' dtype on `cpu` or `cuda`."""
        if self.dtype != "auto":
            return self.dtype
        return "float32" if device == "cpu" else "bfloat16"


DEFAULT_EXTRACT_WORDS = 120
ANSWER_FIELDS = ("instruction", "max_tokens", "temperature", "top_p", "seed", "json_schema")


class PromptSettings(Settings):
    """One question asked of every document, or an extract of it."""

    name: str = Field("summary", pattern=NAME_PATTERN)
    """The value of the column prompt_id."""
    kind: Literal["answer", "extract"] = Field("answer", exclude_if=lambda kind: kind == "answer")
    """`answer`: the model answers the instruction. `extract`: the document's own key sentences, word for word and with
    their places, chosen on CPUs; no model reads the document for it."""
    max_words: int | None = Field(None, ge=10, le=100_000, exclude_if=lambda words: words is None)
    """Most words of an extract, which consists of whole sentences. Unset: 120."""
    instruction: str = Field("Summarize the document.", min_length=1)
    """The instruction that follows the document."""
    max_tokens: int = Field(128, ge=1, le=65536)
    """Longest answer, in tokens."""
    temperature: float = Field(0.0, ge=0, le=10)
    """0 always picks the most likely token."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Sample from the smallest set of tokens whose probabilities add up to this (nucleus sampling)."""
    seed: int = 0
    """Seed of the sampling. Each document has its own stream of random numbers, so that a rerun gives the same text."""
    # Excluded while it is unset, so that settings without it keep the fingerprint that they had before it existed.
    json_schema: dict[str, object] | None = Field(None, exclude_if=lambda schema: schema is None)
    """JSON Schema for the answer, as a mapping or as the path of a .json or .yaml file. The model sees the schema,
    malformed JSON is repaired where possible, and an answer that does not match is retried once, then rejected with the
    reason."""

    @field_validator("json_schema", mode="before")
    @classmethod
    def _read_schema(cls, value: object, info: ValidationInfo) -> object:
        try:
            return None if value is None else json_schema.check(json_schema.read(value))
        except ValueError as error:
            raise ValueError(f"prompt {info.data.get('name', '')!r}: {error}") from error

    @property
    def is_extract(self) -> bool:
        return self.kind == "extract"

    @property
    def words(self) -> int:
        """Most words of an extract."""
        return self.max_words or DEFAULT_EXTRACT_WORDS

    @model_validator(mode="after")
    def _check(self) -> Self:
        fields = type(self).model_fields
        of_answers = [name for name in ANSWER_FIELDS if getattr(self, name) != fields[name].default]
        if self.is_extract and of_answers:
            raise ValueError(
                f"prompt {self.name!r}: {of_answers[0]} is of prompts of kind answer; an extract takes max_words alone"
            )
        if self.max_words is not None and not self.is_extract:
            raise ValueError(f"prompt {self.name!r}: max_words is of prompts of kind extract; an answer has max_tokens")
        if not self.instruction.strip():
            raise ValueError(f"prompt {self.name!r}: instruction = {self.instruction!r} says nothing")
        if len(self.instruction) > MAX_INSTRUCTION_CHARS:
            raise ValueError(
                f"prompt {self.name!r}: instruction has {len(self.instruction):,} characters, "
                f"the limit is {MAX_INSTRUCTION_CHARS:,}, since every document pays for them"
            )
        return self


class SectionSettings(Settings):
    """Prompts about each section of a document, answered from all that was read up to its end."""

    prompts: tuple[PromptSettings, ...] = (
        PromptSettings(name="section", instruction="Summarize the section that you have just read."),
    )
    """A row for each section and prompt."""
    headings: bool = True
    """Whether sections end at headings: Markdown, HTML, numbered lines, chapters. If not, every `most_tokens`."""
    most_tokens: int = Field(8192, ge=64)
    """A section ends after this many tokens even without a heading."""
    least_tokens: int = Field(256, ge=1)
    """A shorter section is merged with the next one."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.prompts:
            raise ValueError("sections.prompts is empty: give at least one prompt, or leave sections out")
        if self.least_tokens > self.most_tokens:
            raise ValueError(f"least_tokens = {self.least_tokens} is more than most_tokens = {self.most_tokens}")
        return self


def every_prompt(prompts: tuple[PromptSettings, ...], sections: SectionSettings | None) -> tuple[PromptSettings, ...]:
    """The prompts about whole documents, then those about sections."""
    return (*prompts, *(sections.prompts if sections else ()))


def answers_of(prompts: tuple[PromptSettings, ...]) -> tuple[PromptSettings, ...]:
    """The prompts that a model answers."""
    return tuple(prompt for prompt in prompts if not prompt.is_extract)


class EngineSettings(Settings):
    """How actors and readers work."""

    slots: int | None = Field(None, ge=1)
    """Documents in flight per actor. Each needs memory for two recurrent states, its own and an answer's. Unset: 16 on
    a CPU, 128 on a GPU. On a GPU the number is lowered to what fits beside the weights."""
    step_tokens: int | None = Field(None, ge=1, le=131_072)
    """Tokens that one step reads, over all documents in the slots. Unset: 2048 on a CPU, 16384 on a GPU. Limited so
    that 32-bit offsets in kernels do not overflow and memory stays small."""
    kv_cache_gib: float | None = Field(None, gt=0)
    """Memory per actor for the keys and values of models with attention, which grow with every token. Unset: on a GPU
    what is free beside the weights, on a CPU a quarter of the actor's share of the machine's memory. A document that
    does not fit with its answer becomes a failure row; where several do not fit together, some wait."""
    actors: ActorCount = ActorCount()
    """Model actors, each on its own device: a number, or min and max, between which it follows what there is to do."""
    cpus_per_actor: Annotated[int, Field(ge=1)] = 1
    """CPUs that an actor reserves from Ray. Without a GPU, also the number of its torch threads."""
    readers: int = Field(1, ge=1)
    """Tasks that fetch, extract and tokenize documents ahead of the actors."""
    documents_per_batch: int = Field(4, ge=1)
    """Documents that a reader passes to an actor together. One object in the ledger records that they were begun, so a
    run over millions of short documents is cheaper with 64."""
    max_attempts: int = Field(4, ge=2, le=100)
    """A document becomes a failure row after this many attempts in which its process died, or its device failed,
    without progress. In the last two attempts it is in quarantine: it has the engine to itself, so that no other
    document is blamed. The loss of a whole node counts as a quarter of an attempt, since spot nodes can vanish without
    notice."""

    def slots_on(self, device: str) -> int:
        """Documents in flight at a time on a type of torch device."""
        return self.slots or (16 if device == "cpu" else 128)

    def step_tokens_on(self, device: str) -> int:
        """Tokens of one pass on a type of torch device."""
        return self.step_tokens or (2048 if device == "cpu" else 16_384)

    @property
    def kv_cache_bytes(self) -> int | None:
        """Of `kv_cache_gib`."""
        return None if self.kv_cache_gib is None else int(self.kv_cache_gib * 2**30)


class SnapshotSettings(Settings):
    """How partially read documents are saved."""

    max_lost_device_seconds: float = Field(60.0, gt=0)
    """The most device time that the loss of an actor may waste. When more is at stake, the document with the largest
    share is saved. A document is never saved if reading it again takes less than 50 times as long as saving it."""
    dtype: Literal["float32", "int8"] = "float32"
    """`float32` saves states as they are: answers after a resume are those of an undisturbed run. `int8` takes a
    quarter of the bytes (half of keys and values in bfloat16); logits right after a resume are off by about a
    thousandth (docs/states.md), so that an answer may differ where two tokens are almost equally likely. States that
    are kept after a run are always saved as they are."""


class StateSettings(Settings):
    """Which states are kept after a run."""

    ttl_days: float = Field(30.0, gt=0)
    """Days until `jobs.states expire` removes a state."""
    storage_gib_month: Decimal = Field(Decimal("0.023"), ge=0, max_digits=12, decimal_places=6)
    """Price of storing a GiB for a month, in price.currency; the default is that of S3 Standard. A state is kept only
    if reading its document again would cost at least as much as storing the state for ttl_days, at the actor's price
    and measured speed, assuming that every state will be used. 0 keeps all states."""


class PriceSettings(Settings):
    """What devices cost, and in which currency."""

    cpu_hour: Decimal = Field(Decimal("0.04"), ge=0, max_digits=12, decimal_places=6)
    """Price of one CPU for one hour; used when actors run on CPUs."""
    gpu_hour: Decimal | None = Field(None, ge=0, max_digits=12, decimal_places=6)
    """Price of one GPU for one hour, of whatever type. Unset: the catalog's price of each actor's GPU."""
    node_hour: Decimal | None = Field(None, ge=0, max_digits=12, decimal_places=6)
    """Price for one hour of each of the cluster's nodes that can hold no actor, such as the head and machines for
    readers. Unset: they are not counted."""
    catalog: str | None = None
    """Your own price catalog, a YAML file like configs/prices.yaml whose rows take precedence over the shipped ones;
    `python -m jobs.prices refresh` writes one. Unset: the shipped rows only."""
    provider: str | None = None
    """Provider whose prices apply, such as `aws`. Unset: the cloud that the node is in (`aws`, `gcp` or `azure`), from
    its Ray label longhaul/provider or its firmware. If that is unknown too and several prices match, the run is
    refused."""
    region: str | None = None
    """Region whose prices apply. Unset: the node's, from its Ray label ray.io/availability-region or its cloud."""
    instance_type: str | None = None
    """Instance type whose prices apply, such as `p5.48xlarge`. Unset: the node's, from its Ray label
    longhaul/instance-type or its cloud."""
    market: Literal["auto", "spot", "on_demand"] = "auto"
    """How the nodes were bought. `auto`: from each node's Ray label ray.io/market-type, which is `spot` or
    `on-demand`; a node without the label counts as on demand."""
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$")
    """ISO 4217 code."""


class RunSettings(Settings):
    """This run."""

    id: str | None = Field(None, pattern=NAME_PATTERN)
    """Names the run in paths and rows. Giving the id of an earlier run resumes it. Unset: resume the unfinished run
    with the same settings if there is one, else begin a new run."""
    ray_address: str | None = None
    """`local` starts Ray here; `auto` or host:port joins a cluster. Unset: RAY_ADDRESS if it is set, else `local`."""
    deadline: str | None = None
    """When to stop: a time of day on the driver's machine such as 06:00 (the next one after the start), or a timestamp
    such as 2026-11-23T06:00:00+00:00. Finished documents are committed, partially read ones are saved, and the next
    start of the same command resumes them."""
    budget_usd: Decimal | None = Field(None, gt=0, max_digits=12, decimal_places=6)
    """What this start of the run may spend before it stops in the same way. Each later start has the whole budget
    again."""
    summary_so_far: bool = False
    """Whether a document that is partially read when the run stops gets a summary of what was read so far, marked as
    truncated and partial. A later start resumes the document and replaces the summary."""
    max_failed_share: float = Field(0.5, gt=0, le=1)
    """The run stops, as at its budget, when more than this share of the documents that this start has processed failed:
    most likely a setting such as input.text_field is wrong. 1 never stops the run."""
    max_failed_after: int = Field(1000, ge=1)
    """Number of documents that must be processed before max_failed_share applies."""
    heartbeat_seconds: float = Field(15.0, ge=0.2, le=300)
    """How often an actor writes its meter to the output: how fresh `jobs.status` is, and how much time an actor that is
    lost together with its driver can leave unaccounted for at most. The driver hears from actors every two seconds
    beside that."""

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
        """When a run that starts at `start` must stop, with its time zone; None without a deadline."""
        return None if self.deadline is None else deadline_after(self.deadline, start)


class SummarizeConfig(Settings):
    """A summarization run: documents in, summaries and their costs out."""

    input: InputSettings
    output: OutputSettings = OutputSettings()
    model: ModelSettings = ModelSettings()
    prompts: tuple[PromptSettings, ...] = Field((PromptSettings(),), min_length=1)
    """What is asked of each document after reading it once, and which extracts are made of it; a row for each."""
    preamble: str | None = Field(None, exclude_if=lambda value: value is None)
    """Text that the model reads before every document, such as who it is and what matters. It is read once per actor:
    every document starts from the state after it."""
    sections: SectionSettings | None = Field(None, exclude_if=lambda value: value is None)
    """Summaries of sections. Unset: documents are summarized as a whole only."""
    long_documents: Literal["fail", "windows", "map_reduce"] = Field("fail", exclude_if=lambda value: value == "fail")
    """What becomes of a document that is longer than the model's context, or than memory for keys and values holds.
    `fail`: a failure row with the reason. `windows`: it is read in consecutive windows that fit, each with a memory of
    its own and an answer, and these are joined under their ranges. `map_reduce`: the model is then asked the same about
    the joined answers, in as many rounds as it takes. The column `windows` says how many there were. Recurrent models
    have no longest document."""
    citations: bool = True
    """Find the passage of the document that supports each sentence of an answer best, and the numbers and names in it
    that the document does not hold (columns `citations` and `unsupported`), for documents of up to 64 MiB of text.
    Readers then read these to their end, also those that an actor streams, at about a megabyte per second and CPU."""
    engine: EngineSettings = EngineSettings()
    placement: PlacementSettings = PlacementSettings()
    incremental: bool = False
    """Keep documents' states, so that only the new part of a document that has grown is read, and `jobs.states ask` can
    ask questions about it later. Documents of less than about 4096 characters, and those whose state costs more to
    store than they cost to read (states.storage_gib_month), are read again."""
    states: StateSettings = StateSettings()
    snapshot: SnapshotSettings = SnapshotSettings()
    price: PriceSettings = PriceSettings()
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [prompt.name for prompt in every_prompt(self.prompts, self.sections)]
        if len(set(names)) != len(names):
            raise ValueError(f"prompts have the names {names}: give each its own name")
        if self.sections and any(not each.is_extract for each in self.sections.prompts) and self.is_extract_only:
            raise ValueError("sections.prompts asks for answers, prompts for none: add one of kind answer to prompts")
        if self.long_documents != "fail" and self.sections:
            raise ValueError(
                f"long_documents = {self.long_documents!r} and sections: a section is asked about with all before it "
                "in memory, which windows do not have; set one of them"
            )
        if self.long_documents == "windows" and any(prompt.json_schema for prompt in self.prompts):
            raise ValueError(
                "long_documents = 'windows' joins texts, and a prompt has a json_schema; long_documents=map_reduce "
                "gives one answer that fits it"
            )
        if self.placement.gpus and (self.model.device == "cpu" or self.is_extract_only):
            why = "prompts asks for extracts alone" if self.is_extract_only else "model.device = 'cpu'"
            raise ValueError(f"placement.gpus = {self.placement.gpus!r}, and {why}, which is done on CPUs")
        if self.run.budget_usd is not None and self.price.currency != "USD":
            raise ValueError(f"run.budget_usd needs prices in USD, price.currency is {self.price.currency!r}")
        return self

    @property
    def is_extract_only(self) -> bool:
        """Whether nothing is asked of a model."""
        return all(prompt.is_extract for prompt in self.prompts)

    @property
    def model_id(self) -> str:
        """As tables and events name the model."""
        return EXTRACTS if self.is_extract_only else self.model.uri
