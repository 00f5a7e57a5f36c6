"""A training's progress, stored beside its result: appears whole or not at all, and loads without running code.

resume.json                            which step it is, and what it belongs to; written last
resume-STEP-weights-0.safetensors      the trained weights and what the optimizer remembers, in pieces
resume-STEP-worker-0.safetensors       each worker's recurrent states, places in its documents, random numbers
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from configs.errors import ConfigError
from pipeline.storage import objects

FORMAT = "longhaul.training.1"
INDEX, PREFIX = "resume.json", "resume-"
PIECE_BYTES = 2**30
"""About what one object of weights holds, so that saving a large model takes little memory beside it."""

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    steps: int
    tokens: int
    seconds: float
    text_loss: float | None
    """The running mean; None before the first."""
    answer_loss: float | None
    num_workers: int
    belongs_to: Mapping[str, object]
    """Settings and data that decide what comes next, by the names by which an error calls them."""


class Saves:
    """The saved progress of one output."""

    def __init__(self, output: str) -> None:
        self._output = output

    def latest(self, belongs_to: Mapping[str, object]) -> Progress | None:
        """The last save, if there is one. Raises ConfigError where it belongs to another training."""
        try:
            stored = json.loads(objects.read_bytes(self._at(INDEX)))
            assert stored.pop("format") == FORMAT
            progress = Progress(**stored)
        except FileNotFoundError:
            return None
        except (ValueError, LookupError, TypeError, AssertionError) as error:
            raise ConfigError(
                f"{self._at(INDEX)} is no saved training of this version: delete it to begin anew"
            ) from error
        # As JSON has it: tuples are lists.
        for name, value in json.loads(json.dumps(belongs_to)).items():
            if (saved := progress.belongs_to.get(name)) != value:
                raise ConfigError(
                    f"output = {self._output!r} holds an unfinished training with {name} = {saved!r}, and this one "
                    f"has {value!r}: set it as it was, choose another output, or delete {INDEX} there to begin anew"
                )
        return progress

    def write_weights(self, steps: int, tensors: Mapping[str, Tensor]) -> None:
        """What all workers share; one of them writes it."""
        for number, piece in enumerate(_pieces(tensors)):
            self._write(f"{_prefix(steps)}weights-{number}", piece)

    def write_worker(self, steps: int, rank: int, tensors: Tensors) -> None:
        """What is one worker's own."""
        self._write(f"{_prefix(steps)}worker-{rank}", tensors)

    def publish(self, progress: Progress) -> None:
        """Have it be the latest, after all of it was written, and remove those before it."""
        text = json.dumps({"format": FORMAT, **asdict(progress)}, indent=2)
        objects.publish(self._at(INDEX), text.encode())
        self._remove_except(_prefix(progress.steps))

    def read_weights(self, steps: int) -> Tensors:
        """The inverse of `write_weights`."""
        tensors: Tensors = {}
        for uri in objects.list_files(self._output, ".safetensors"):
            if uri.rpartition("/")[2].startswith(f"{_prefix(steps)}weights-"):
                tensors |= _read(uri)
        return tensors

    def read_worker(self, steps: int, rank: int) -> Tensors:
        """The inverse of `write_worker`."""
        return _read(self._at(f"{_prefix(steps)}worker-{rank}.safetensors"))

    def remove(self) -> None:
        """All of it, once the training is done."""
        objects.delete(self._at(INDEX))
        self._remove_except(None)

    def _remove_except(self, kept: str | None) -> None:
        for entry in objects.walk(self._output, depth=1):
            name = entry.uri.rpartition("/")[2]
            if name.startswith(PREFIX) and not (kept and name.startswith(kept)):
                objects.delete(entry.uri)

    def _write(self, name: str, tensors: Tensors) -> None:
        contiguous = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        objects.publish(self._at(f"{name}.safetensors"), safetensors.torch.save(contiguous))

    def _at(self, name: str) -> str:
        return objects.join(self._output, name)


def _prefix(steps: int) -> str:
    return f"{PREFIX}{steps:08}-"


def _pieces(tensors: Mapping[str, Tensor]) -> Iterator[Tensors]:
    piece: Tensors = {}
    for name, tensor in tensors.items():
        piece[name] = tensor
        if sum(held.nbytes for held in piece.values()) >= PIECE_BYTES:
            yield piece
            piece = {}
    if piece:
        yield piece


def _read(uri: str) -> Tensors:
    try:
        return safetensors.torch.load(objects.read_bytes(uri))
    except (FileNotFoundError, SafetensorError) as error:
        raise ConfigError(
            f"{uri} is missing or damaged ({error}), so that the training cannot be resumed: delete {INDEX} beside it "
            "to begin anew"
        ) from error
