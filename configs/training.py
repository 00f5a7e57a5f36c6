"""Settings of `python -m jobs.train`."""

from typing import Self

from pydantic import Field, model_validator

from configs.loader import Settings


class DataSettings(Settings):
    """Which texts a model is trained on, and how they are drawn."""

    directory: str = "../shared/data/train"
    """Directory of *.jsonl.zst files: one object a line with id, text, and mostly title and summary."""
    long_document: str = "../shared/data/stress/war-and-peace.txt"
    """A text outside of the training data, over whose first 100,000 tokens the loss by position is measured."""
    weights: dict[str, float] = {}
    """How often a file is drawn from, by its name without suffix; files not named have weight 1."""
    pair_share: float = Field(0.6, ge=0, le=1)
    """Share of the drawn documents that are followed by the prompt and their summary; the rest are plain text."""
    max_pair_tokens: int = Field(4096, ge=64)
    """Only documents up to this length are drawn as pairs: summaries are seen more often that way."""
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
    """Channels per head; divides twice d_model."""
    chunk_size: int = 64
    """Tokens that the scan takes at once."""


class TrainConfig(Settings):
    """A small Mamba-3 from nothing: tokenizer, then weights, with state carried from segment to segment."""

    output: str
    """Directory for config.json, model.safetensors, tokenizer.json, training.json and the model card."""
    data: DataSettings = DataSettings()
    model: ShapeSettings = ShapeSettings()
    streams: int = Field(6, ge=1)
    """Documents read side by side; each step takes one segment of each."""
    segment_tokens: int = Field(192, ge=16)
    """Tokens of each stream per step; gradients stop at its edge, the state is carried on."""
    steps: int = Field(20000, ge=1)
    """Optimizer steps at the most."""
    max_minutes: float = Field(90, gt=0)
    """Wall time at the most; the learning rate falls with whichever of steps and time is further along."""
    learning_rate: float = Field(2e-3, gt=0)
    """Peak of AdamW's."""
    warmup_steps: int = Field(100, ge=0)
    """Steps over which the learning rate rises to its peak."""
    weight_decay: float = Field(0.05, ge=0)
    """AdamW's, of the matrices."""
    summary_weight: float = Field(2.0, gt=0)
    """Weight of a summary token's loss, where a text token's is 1."""
    threads: int = Field(1, ge=1)
    """CPU threads of torch."""
    log_every: int = Field(20, ge=1)
    """Steps between log lines."""
    save_every: int = Field(200, ge=1)
    """Steps between checkpoints; an interrupted training resumes from the last one."""
    seed: int = 0
    """Of the initial weights and of the order of documents."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (2 * self.model.d_model) % self.model.headdim:
            raise ValueError(
                f"model.headdim = {self.model.headdim} must divide twice model.d_model = {self.model.d_model}"
            )
        return self
