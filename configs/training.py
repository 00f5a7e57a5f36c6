"""Settings of `python -m jobs.train`."""

from typing import Self

from pydantic import Field, model_validator

from configs.loader import Settings


class DataSettings(Settings):
    """Which texts a model is trained on, and how they are drawn."""

    directory: str = "../shared/data/train"
    """Directory of *.jsonl.zst files: one object a line with id, text, and mostly title and summary."""
    long_document: str = "../shared/data/stress/war-and-peace.txt"
    """A text outside of the training data; the loss by position is measured over its first 100,000 tokens."""
    weights: dict[str, float] = {}
    """How often documents are drawn from a file, by its name without suffix; the default weight is 1."""
    pair_share: float = Field(0.6, ge=0, le=1)
    """Share of the drawn documents that are followed by the prompt and their summary; the rest are plain text."""
    max_pair_tokens: int = Field(4096, ge=64)
    """Only documents up to this length in tokens are drawn as pairs, so that training sees more summaries."""
    max_text_tokens: int = Field(65536, ge=64)
    """Longest window of plain text, in tokens; lengths are log-uniform up to it."""
    held_out_share: float = Field(0.01, gt=0, lt=1)
    """Share of documents, chosen by hash of id, that training never sees."""


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


class TrainConfig(Settings):
    """Trains a small Mamba-3 from scratch: tokenizer, then weights, with state carried from segment to segment."""

    output: str
    """Directory for config.json, model.safetensors, tokenizer.json, training.json and the model card."""
    data: DataSettings = DataSettings()
    model: ShapeSettings = ShapeSettings()
    streams: int = Field(6, ge=1)
    """Documents that are read in parallel; each step takes one segment of each."""
    segment_tokens: int = Field(192, ge=16)
    """Tokens of each stream per step. The state is carried over to the next segment, gradients are not."""
    steps: int = Field(20000, ge=1)
    """Maximum number of optimizer steps."""
    max_minutes: float = Field(90, gt=0)
    """Maximum wall time in minutes. The learning rate decays with whichever of steps and time is further along."""
    learning_rate: float = Field(2e-3, gt=0)
    """Peak learning rate of AdamW."""
    warmup_steps: int = Field(100, ge=0)
    """Steps over which the learning rate rises to its peak."""
    weight_decay: float = Field(0.05, ge=0)
    """Weight decay of AdamW, for matrices only."""
    summary_weight: float = Field(2.0, gt=0)
    """Weight of a summary token's loss, where a text token's is 1."""
    threads: int = Field(1, ge=1)
    """Number of torch's CPU threads."""
    log_every: int = Field(20, ge=1)
    """Steps between log lines."""
    save_every: int = Field(200, ge=1)
    """Steps between checkpoints. An interrupted training resumes from the last one."""
    seed: int = 0
    """Seed of the initial weights and of the order of documents."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (2 * self.model.d_model) % self.model.headdim:
            raise ValueError(
                f"model.headdim = {self.model.headdim} must divide twice model.d_model = {self.model.d_model}"
            )
        return self
