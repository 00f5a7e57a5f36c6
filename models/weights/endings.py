"""At which tokens an answer ends, by what a checkpoint's files say: all of them, since they often differ."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from configs.errors import ModelError
from models.weights.hub import CONFIG, GENERATION
from models.weights.tokenizer import Tokenizer

FIELD = "eos_token_id"


def end_ids(directory: Path, tokenizer: Tokenizer) -> frozenset[int]:
    """Those of generation_config.json and config.json in a model's directory, where each may be a number or a list, and
    those that its tokenizer names.

    Raises ModelError where a file says something else, or where there is none at all.
    """
    found = {token for name in (GENERATION, CONFIG) for token in _listed(directory / name)} | tokenizer.end_ids
    if not found:
        raise ModelError(f"{directory}: no token ends an answer: set {FIELD} in its {GENERATION}")
    return frozenset(found)


def _listed(file: Path) -> Iterator[int]:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read as JSON ({error})") from error
    for part in (content, content.get("text_config") if isinstance(content, dict) else None):
        value = part.get(FIELD) if isinstance(part, dict) else None
        for token in value if isinstance(value, list) else [value]:
            if token is not None:
                yield _checked(token, file)


def _checked(token: Any, file: Path) -> int:
    if not isinstance(token, int) or isinstance(token, bool) or token < 0:
        raise ModelError(f"{file}: {FIELD} = {token!r} is neither the number of a token nor a list of such")
    return token
