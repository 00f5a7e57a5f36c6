"""Trains a Mamba language model by truncated backpropagation with state passing.

Each of S streams holds one document at a time. A step reads the next segment of every stream from the state that the
last step left, so that the model learns to live with a state of any age. Where a document ends inside a segment,
the segment is cut there and the next document starts from an empty state: the same ragged pack as in inference.

With torch.distributed, each process has streams of its own, and a step is that of one process with all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from models.mamba import parallel_scan, parallel_ssd
from models.mamba.language_model import MambaLM
from models.mamba.mamba2 import Mamba2Mixer
from models.mamba.mamba3 import Mamba3Mixer
from models.state import State

GRADIENT_CLIP = 1.0
BETAS = (0.9, 0.95)
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW remembers of each parameter."""


@dataclass(frozen=True)
class Example:
    """One document for training."""

    tokens: np.ndarray
    """(L,) int32, two or more."""
    answer_tokens: int
    """How many of the last tokens are the answer, zero for plain text."""


@dataclass(frozen=True)
class Place:
    """Where a stream is: in which of its documents, and how many of its tokens were read."""

    document: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Segment:
    """A run of tokens of one document within one step."""

    tokens: np.ndarray
    """(l + 1,): inputs are all but the last, targets all but the first."""
    is_answer: np.ndarray
    """(l,) whether each target belongs to the answer."""
    starts_document: bool


class Stream:
    """Documents laid end to end, handed out `segment_tokens` at a time, never two documents in one piece."""

    def __init__(self, document: Callable[[int], Example], segment_tokens: int, place: Place = Place()) -> None:
        """`document(i)` is the document number i, the same whenever it is asked for; there is no last one."""
        self._document, self._segment_tokens = document, segment_tokens
        self._number, self._offset, self._example = place.document, place.offset, document(place.document)

    @property
    def place(self) -> Place:
        """From which another stream of the same documents goes on as this one does."""
        return Place(self._number, self._offset)

    def next_segment(self) -> list[Segment]:
        """The next `segment_tokens` targets of the stream, cut where a document ends."""
        pieces, room = [], self._segment_tokens
        while room:
            start, last = self._offset, len(self._example.tokens) - 1
            stop = min(start + room, last)
            pieces.append(self._piece(start, stop))
            room -= stop - start
            self._offset = stop
            if stop == last:
                self._number, self._offset = self._number + 1, 0
                self._example = self._document(self._number)
        return pieces

    def _piece(self, start: int, stop: int) -> Segment:
        example = self._example
        is_answer = np.arange(start + 1, stop + 1) >= len(example.tokens) - example.answer_tokens
        return Segment(example.tokens[start : stop + 1], is_answer, starts_document=start == 0)


@dataclass(frozen=True)
class Recipe:
    """How weights are changed."""

    learning_rate: float
    """At its peak."""
    weight_decay: float = 0.0
    """Of the blocks' matrices."""
    text_weight: float = 1.0
    """Of the loss of a token that belongs to no answer. Zero: nothing is learned from it."""
    answer_weight: float = 1.0
    """Of the loss of an answer's token."""


@dataclass(frozen=True)
class StepResult:
    """The losses of one optimizer step, over all streams of all processes."""

    text_loss: float
    """Mean cross entropy of tokens that belong to no answer, nats; nan if the step held none with a weight."""
    answer_loss: float
    """The same of answers' tokens."""
    num_tokens: int
    """All that were read."""


class Trainer:
    """Model, optimizer and the carried states."""

    def __init__(self, model: MambaLM, streams: list[Stream], recipe: Recipe) -> None:
        """Trains the parameters of `model` that require gradients."""
        self.model, self.streams, self._recipe = model, streams, recipe
        self.states = model.empty_state(len(streams))
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        matrices = {
            name
            for name, p in self.parameters.items()
            if p.ndim == 2 and ".layers." in name and not name.endswith("A_log")
        }
        groups = [
            {
                "params": [p for name, p in self.parameters.items() if (name in matrices) == decays],
                "weight_decay": decay,
            }
            for decays, decay in ((True, recipe.weight_decay), (False, 0.0))
        ]
        groups = [group for group in groups if group["params"]]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=BETAS)
        self._num_processes = dist.get_world_size() if dist.is_initialized() else 1
        self._read = DistributedDataParallel(_Reading(model)) if dist.is_initialized() else _Reading(model)

    def step(self, rate: float) -> StepResult:
        """One optimizer step on the next segment of every stream, at `rate` times the peak learning rate.

        Logits are computed for tokens with a weight alone. A step without any only carries the states on. Raises
        FloatingPointError, on all processes, and changes nothing, where a gradient is no finite number.
        """
        segments = [stream.next_segment() for stream in self.streams]
        pieces = [piece for segment in segments for piece in segment]
        targets = self._on_device(np.concatenate([piece.tokens[1:] for piece in pieces]).astype(np.int64))
        is_answer = self._on_device(np.concatenate([piece.is_answer for piece in pieces]))
        weights = torch.where(is_answer, self._recipe.answer_weight, self._recipe.text_weight)
        counted = weights.nonzero().squeeze(-1)
        total = self._over_all(weights.sum())
        learns = total.item() > 0
        with torch.set_grad_enabled(learns):
            logits, after = self._read(*self._inputs(pieces, segments), counted)
            losses = F.cross_entropy(logits.float(), targets[counted], reduction="none")
            if learns:
                # Gradients are averaged over the processes, and the loss is a mean over the tokens of all of them.
                ((losses * weights[counted]).sum() * self._num_processes / total).backward()
                self._update(rate)
        self._keep(after, segments)
        return self._result(losses.detach(), is_answer[counted], len(targets))

    def memory(self) -> dict[str, Tensor]:
        """What the optimizer remembers, by `exp_avg/NAME OF PARAMETER` and the like; empty before the first step."""
        states = {name: self.optimizer.state.get(parameter, {}) for name, parameter in self.parameters.items()}
        return {f"{moment}/{name}": state[moment] for name, state in states.items() for moment in state}

    def remember(self, memory: dict[str, Tensor]) -> None:
        """The inverse of `memory`, for the same parameters."""
        for name, parameter in self.parameters.items():
            state = {key: memory[f"{key}/{name}"] for key in MOMENTS if f"{key}/{name}" in memory}
            # As torch's own load_state_dict: the step stays where it is, the moments go to the parameter.
            on_device = {key: tensor if key == "step" else tensor.to(parameter) for key, tensor in state.items()}
            if on_device:
                self.optimizer.state[parameter] = on_device

    def _inputs(self, pieces: list[Segment], segments: list[list[Segment]]) -> tuple[Tensor, list[int], State]:
        inputs = self._on_device(np.concatenate([piece.tokens[:-1] for piece in pieces]).astype(np.int64))
        bounds = [0, *np.cumsum([len(piece.is_answer) for piece in pieces]).tolist()]
        entering = [
            self.states.gather([row]) if not piece.starts_document else self.model.empty_state(1)
            for row, segment in enumerate(segments)
            for piece in segment
        ]
        return inputs, bounds, State.concatenate(entering)

    def _update(self, rate: float) -> None:
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), GRADIENT_CLIP)
        if not norm.isfinite():
            raise FloatingPointError(f"the gradients' norm is {norm.item()}")
        for group in self.optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate * rate
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _keep(self, after: State, segments: list[list[Segment]]) -> None:
        """The state after each stream's last piece goes into its next segment, without its gradient."""
        last = np.cumsum([len(segment) for segment in segments]) - 1
        self.states = after.detach().gather(last.tolist())

    def _result(self, losses: Tensor, is_answer: Tensor, num_tokens: int) -> StepResult:
        parts = [losses[~is_answer], losses[is_answer]]
        figures = [number for part in parts for number in (part.double().sum().item(), len(part))]
        text, num_text, answer, num_answer, read = self._over_all(
            torch.tensor([*figures, num_tokens], dtype=torch.float64, device=losses.device)
        ).tolist()
        return StepResult(_mean(text, num_text), _mean(answer, num_answer), int(read))

    def _over_all(self, values: Tensor) -> Tensor:
        """Summed over the processes."""
        if self._num_processes > 1:
            dist.all_reduce(values)
        return values

    def _on_device(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.model.lm_head.weight.device)


class _Reading(nn.Module):
    """`prefill` as `forward`, around which DistributedDataParallel puts the averaging of gradients."""

    def __init__(self, model: MambaLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, bounds: list[int], state: State, logits_at: Tensor) -> tuple[Tensor, State]:
        return self.model.prefill(tokens, bounds, state, logits_at)


def multiply_in_bf16(model: MambaLM) -> None:
    """Have every linear layer multiply in bf16 on weights that stay fp32, with fp32 sums.

    The recurrence, the norms and the residual stay fp32, as they do in a model of bf16 weights; so do the parameters
    that are fp32 in published checkpoints.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            in_bf16 = torch.autocast(module.weight.device.type, torch.bfloat16)
            module.forward = in_bf16(module.forward)  # type: ignore[method-assign]


def scan_at_once(model: MambaLM) -> None:
    """Have every mixer compute all chunks together: on a GPU a few kernels do what else takes thousands.

    Mamba-1 has no such form and goes on from chunk to chunk.
    """
    for block in model.backbone.blocks:
        if isinstance(block.mixer, Mamba3Mixer):
            block.mixer.scan = parallel_scan.scan
        elif isinstance(block.mixer, Mamba2Mixer):
            block.mixer.scan = parallel_ssd.scan


def recompute_blocks(model: MambaLM) -> None:
    """Gradient checkpointing: keep what enters each block alone, and compute the block again on the way back."""
    for block in model.backbone.blocks:
        block.forward = _recomputed(block.forward)  # type: ignore[method-assign]


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *inputs: checkpoint(forward, *inputs, use_reentrant=False)


def _mean(total: float, count: float) -> float:
    return total / count if count else float("nan")
