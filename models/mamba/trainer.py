"""Trains a Mamba-3 by truncated backpropagation with state passing.

Each of S streams holds one document at a time. A step reads the next segment of every stream from the state that the
last step left, so that the model learns to live with a state of any age. Where a document ends inside a segment,
the segment is cut there and the next document starts from an empty state: the same ragged pack as in inference.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.mamba.language_model import MambaLM
from models.state import State

GRADIENT_CLIP = 1.0


@dataclass(frozen=True)
class Segment:
    """A run of tokens of one document within one step."""

    tokens: np.ndarray
    """(l + 1,): inputs are all but the last, targets all but the first."""
    weights: np.ndarray
    """(l,) loss weight of each target."""
    starts_document: bool


class Stream:
    """Documents laid end to end, handed out `segment_tokens` at a time, never two documents in one piece."""

    def __init__(self, documents: Iterator[tuple[np.ndarray, np.ndarray]], segment_tokens: int) -> None:
        """`documents` yields (tokens, weight of each token as a target)."""
        self._documents = documents
        self._segment_tokens = segment_tokens
        self._tokens, self._weights, self._offset = *next(documents), 0

    def next_segment(self) -> list[Segment]:
        """The next `segment_tokens` targets of the stream, cut where a document ends."""
        pieces, room = [], self._segment_tokens
        while room:
            stop = min(self._offset + room, len(self._tokens) - 1)
            pieces.append(
                Segment(
                    self._tokens[self._offset : stop + 1],
                    self._weights[self._offset + 1 : stop + 1],
                    self._offset == 0,
                )
            )
            room -= stop - self._offset
            self._offset = stop
            if stop == len(self._tokens) - 1:
                self._tokens, self._weights, self._offset = *next(self._documents), 0
        return pieces


@dataclass(frozen=True)
class StepResult:
    """The losses of one optimizer step, over all its streams."""

    text_loss: float
    """Mean cross entropy of plain tokens, nats."""
    answer_loss: float
    """Mean cross entropy of tokens with a weight other than 1, nan if the step held none."""
    num_tokens: int


class Trainer:
    """Model, optimizer and the carried states."""

    def __init__(self, model: MambaLM, streams: list[Stream], learning_rate: float, weight_decay: float) -> None:
        self.model, self.streams, self._peak = model, streams, learning_rate
        self._states = model.empty_state(len(streams))
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
        chosen = {id(p) for p in matrices}
        rest = [p for p in model.parameters() if id(p) not in chosen]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}],
            lr=learning_rate,
            betas=(0.9, 0.95),
        )

    def step(self, rate: float) -> StepResult:
        """One optimizer step on the next segment of every stream, at `rate` times the peak learning rate."""
        segments = [stream.next_segment() for stream in self.streams]
        pieces = [piece for segment in segments for piece in segment]
        logits, after = self._read(pieces, segments)
        targets = torch.from_numpy(np.concatenate([piece.tokens[1:] for piece in pieces]).astype(np.int64))
        weights = torch.from_numpy(np.concatenate([piece.weights for piece in pieces]))
        losses = F.cross_entropy(logits, targets, reduction="none")
        ((losses * weights).sum() / weights.sum()).backward()
        self._update(rate)
        self._keep(after, segments)
        losses, is_answer = losses.detach(), weights != 1
        return StepResult(losses[~is_answer].mean().item(), losses[is_answer].mean().item(), len(targets))

    def _read(self, pieces: list[Segment], segments: list[list[Segment]]) -> tuple[Tensor, State]:
        inputs = torch.from_numpy(np.concatenate([piece.tokens[:-1] for piece in pieces]).astype(np.int64))
        bounds = [0, *np.cumsum([len(piece.weights) for piece in pieces]).tolist()]
        entering = [
            self._states.gather([row]) if not piece.starts_document else self.model.empty_state(1)
            for row, segment in enumerate(segments)
            for piece in segment
        ]
        return self.model.prefill(inputs, bounds, State.concatenate(entering), torch.arange(len(inputs)))

    def _update(self, rate: float) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_CLIP)
        for group in self.optimizer.param_groups:
            group["lr"] = self._peak * rate
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _keep(self, after: State, segments: list[list[Segment]]) -> None:
        """The state after each stream's last piece goes into its next segment, without its gradient."""
        last = np.cumsum([len(segment) for segment in segments]) - 1
        self._states = after.detach().gather(last.tolist())
