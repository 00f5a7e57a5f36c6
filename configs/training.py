"""Settings of `python -m jobs.train`."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from configs.loader import Settings


class DataSettings(Settings):
    """Which texts a model is trained on, and how they are drawn."""

    directory: str = Field("../shared/data/train", min_length=1)
    """Directory or s3:// prefix of *.jsonl files, also compressed (.zst, .gz): one object a line with `id`, `text` and,
    where there is a summary, `summary`, `summaries`, `reference` or `references`, and the `query` or `instruction` that
    it answers. Without one, that is "Summarize the document.", a run's default, with " in one sentence" for summaries
    of less than 300 characters. Each worker holds all texts in memory."""
    long_document: str | None = None
    """A text outside of the training data; the loss by position is measured over its first 100,000 tokens. Unset: it is
    not measured."""
    weights: dict[str, float] = {}
    """How often documents are drawn from a file, by its name without suffix; the default weight is 1, and 0 leaves it
    out."""
    pair_share: float = Field(0.6, ge=0, le=1)
    """Share of the drawn documents that are followed by the prompt and their summary; the rest are plain text."""
    max_pair_tokens: int = Field(4096, ge=64)
    """Only documents up to this length in tokens are drawn as pairs, so that training sees more summaries."""
    min_summary_chars: int = Field(40, ge=1)
    """A shorter summary counts as none."""
    max_text_tokens: int = Field(65536, ge=64)
    """Longest window of plain text, in tokens; lengths are log-uniform up to it."""
    held_out_share: float = Field(0.01, gt=0, lt=1)
    """Share of documents, chosen by hash of id, that training never sees."""
    preamble: str | None = None
    """What runs of the model will have as `preamble`: the text before every document."""

    @field_validator("weights")
    @classmethod
    def _check_weights(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            if not weight >= 0:
                raise ValueError(f"the weight of {name} is {weight}: it must be 0 or more")
        return weights


class ShapeSettings(Settings):
    """The shape of the model that is trained, a Mamba-3."""

    vocab_size: int = Field(4096, ge=300)
    """Byte-level BPE vocabulary, special tokens included."""
    d_model: int = 256
    """Width of the residual stream."""
    n_layer: int = 6
    """Layers, each a mixer and an MLP."""
    d_intermediate: int = 512
    """Width of the MLP."""
    d_state: int = 64
    """State channels per head."""
    headdim: int = 64
    """Channels per head; must divide twice d_model."""
    chunk_size: int = 64
    """Tokens that the scan processes at once."""


class LoraSettings(Settings):
    """What is trained beside weights that stay as they are."""

    rank: int = Field(16, ge=1, le=1024)
    """LoRA: matrices of this rank, beside the linear layers of the blocks, are all that is trained. Embedding, norms,
    convolutions and the recurrence's own parameters stay as they were. The result is merged into the weights, and is in
    adapter/ by itself, as PEFT stores it. Unset, as all of lora: all weights are trained."""
    alpha: float = Field(32.0, gt=0)
    """What is learned counts alpha / rank times."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of a layer's inputs that its LoRA does not see, chosen anew for each token."""
    targets: tuple[str, ...] = ()
    """Names of linear layers, such as [in_proj, out_proj]. Empty: all of the blocks' linear layers."""


class TrainConfig(Settings):
    """Trains a Mamba with state carried from segment to segment: a small Mamba-3 from scratch with a tokenizer of its
    own, or a checkpoint further."""

    output: str = Field(min_length=1)
    """Directory or s3:// prefix for config.json, model.safetensors, tokenizer.json and training.json, which `model.uri`
    of a run then names. With several workers on several machines: a prefix, or a directory that they share. What an
    interrupted training resumes from is beside them, in files named resume*, until it is done."""
    start_from: str | None = Field(None, min_length=1)
    """Directory, s3:// prefix or hub id of the checkpoint to train further, found as `model.uri` of a run is, such as
    state-spaces/mamba3-siso-1.5b, or `default`. Unset: fresh weights of the shape `model`."""
    tokenizer: str | None = Field(None, min_length=1)
    """Directory, s3:// prefix or hub id with the tokenizer.json of `start_from`. Unset: it is beside the weights.
    The official checkpoints have none: see model.tokenizer of a run."""
    data: DataSettings = DataSettings()
    model: ShapeSettings = ShapeSettings()
    lora: LoraSettings | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is a GPU if there is one."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """What linear layers multiply in. Weights, optimizer, recurrence and norms are fp32 either way."""
    gradient_checkpointing: bool = False
    """Keep only what enters each layer and compute the layer again on the way back: a fraction of the memory for about
    a third more time."""
    workers: int = Field(1, ge=1)
    """Processes that train together through Ray Train, each with a GPU, or on CPUs, and with `streams` of its own."""
    ray_address: str | None = None
    """The cluster for several workers: `auto` or host:port. Unset: RAY_ADDRESS if it is set, else Ray on this
    machine."""
    streams: int = Field(6, ge=1)
    """Documents that each worker reads in parallel; each step takes one segment of each."""
    segment_tokens: int = Field(192, ge=16)
    """Tokens of each stream per step. The state is carried over to the next segment, gradients are not."""
    steps: int = Field(20000, ge=1)
    """Maximum number of optimizer steps."""
    max_minutes: float | None = Field(90, gt=0)
    """Maximum wall time in minutes. The learning rate decays with whichever of steps and time is further along. Null:
    steps alone decide, so that an interrupted and resumed training gives the same weights as an uninterrupted one."""
    learning_rate: float = Field(2e-3, gt=0)
    """Peak learning rate of AdamW."""
    warmup_steps: int = Field(100, ge=0)
    """Steps over which the learning rate rises to its peak."""
    weight_decay: float = Field(0.05, ge=0)
    """Weight decay of AdamW, for matrices only."""
    summary_weight: float = Field(2.0, gt=0)
    """Weight of a summary token's loss."""
    text_weight: float = Field(1.0, ge=0)
    """Weight of any other token's loss. 0 masks it: only answers are learned, and what lies more than segment_tokens
    before one only through the state."""
    threads: int = Field(1, ge=1)
    """Number of torch's CPU threads, of each worker."""
    log_every: int = Field(20, ge=1)
    """Steps between log lines."""
    save_every: int = Field(200, ge=1)
    """Steps between saves. An interrupted training resumes from the last one."""
    seed: int = 0
    """Seed of the initial weights and of the order of documents."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (2 * self.model.d_model) % self.model.headdim:
            raise ValueError(
                f"model.headdim = {self.model.headdim} must divide twice model.d_model = {self.model.d_model}"
            )
        if self.start_from is not None and "model" in self.model_fields_set:
            raise ValueError(
                f"start_from = {self.start_from!r} brings its own shape, and model is that of fresh weights: "
                "leave one of them out"
            )
        if self.start_from is None:
            self._refuse_without_start()
        if self.text_weight == 0 and self.data.pair_share == 0:
            raise ValueError("text_weight = 0 and data.pair_share = 0 leave nothing to learn: give one of them more")
        return self

    def _refuse_without_start(self) -> None:
        for field in ("tokenizer", "lora"):
            if (given := getattr(self, field)) is not None:
                raise ValueError(f"{field} = {given!r} is of a checkpoint, but start_from names none: set it too")
