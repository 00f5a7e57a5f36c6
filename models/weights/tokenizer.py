"""A Hugging Face `tokenizer.json` with the special tokens that the engine needs."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers

from configs.errors import ModelError
from configs.settings import ModelSettings
from models.weights import hub
from models.weights.chat import CLOSE, OPEN, Chat, Piece

LIBRARY = f"tokenizers {tokenizers.__version__}"
END_OF_TEXT_NAMES = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<|eot_id|>")
BEGIN_NAMES = ("<|begin_of_text|>", "<s>", "<|endoftext|>")


class Tokenizer:
    """Text to token ids and back. Special tokens are never produced from a document's own text."""

    def __init__(
        self, backend: Backend, serialized: str, about: Mapping[str, Any] | None = None, chat: Chat | None = None
    ) -> None:
        """`about` is the content of tokenizer_config.json, if there is one; `chat` how the model is asked, unless in
        plain text."""
        self._backend, self._about, self.chat = backend, about or {}, chat
        self.serialized = serialized
        """The text of tokenizer.json."""
        # A document that quotes <|endoftext|> must not end itself.
        self._backend.encode_special_tokens = True

    @staticmethod
    def load(directory: Path, with_chat: bool = False) -> "Tokenizer":
        """Read `tokenizer.json`, and `tokenizer_config.json` where there is one; `with_chat`, the chat template too.

        Raises ModelError where the first is missing, or one is broken or cannot be used.
        """
        path = directory / hub.TOKENIZER
        try:
            serialized = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{directory} holds no readable tokenizer.json ({error})") from error
        about = _about(directory / hub.TOKENIZER_CONFIG)
        chat = Chat.of(directory, about) if with_chat else None
        return Tokenizer(_backend(serialized, str(path)), serialized, about, chat)

    @staticmethod
    def read(serialized: str, where: str) -> "Tokenizer":
        """From the text of a `tokenizer.json`. Raises ModelError, which names `where` it is from."""
        return Tokenizer(_backend(serialized, where), serialized)

    @staticmethod
    def find(uri: str | None, model_uri: str, named: hub.Named = hub.OF_A_RUN) -> "Tokenizer":
        """The tokenizer that `model.tokenizer` names, or where it is unset, the one beside the weights.

        Fetched if it is remote, without the weights. Raises ModelError.
        """
        return Tokenizer.load(hub.tokenizer(uri, model_uri, named))

    @staticmethod
    def of_run(model: ModelSettings) -> "Tokenizer":
        """As a run has it: with the chat template that is found beside it, unless that is off. Raises ModelError."""
        return Tokenizer.load(hub.tokenizer(model.tokenizer, model.uri), model.chat == "auto")

    @staticmethod
    def shipped() -> "Tokenizer":
        """That of the shipped model, which is byte-level."""
        return Tokenizer.load(hub.tokenizer(None, "default"))

    @staticmethod
    def train(texts: Iterable[str], vocab_size: int) -> "Tokenizer":
        """A byte-level BPE; `<|endoftext|>` is id 0 and both begins and ends a document."""
        backend = Backend(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[END_OF_TEXT_NAMES[0]],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator(texts, trainer)
        return Tokenizer(backend, backend.to_str())

    def save(self, directory: Path) -> None:
        """Write `tokenizer.json`, as it was read or trained."""
        (directory / "tokenizer.json").write_text(self.serialized, encoding="utf-8")

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens around it."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def encode_with_places(self, text: str) -> tuple[list[int], list[int]]:
        """Token ids of a text, and where in it each begins, in characters."""
        encoded = self._backend.encode(text, add_special_tokens=False)
        return encoded.ids, [start for start, _ in encoded.offsets]

    def encode_pieces(self, pieces: Iterable[Piece]) -> list[int]:
        """Token ids of texts one after the other; in those that are markup special tokens are found."""
        backends = ((self._of_markup if piece.is_markup else self._backend, piece.text) for piece in pieces)
        return [token for backend, text in backends for token in backend.encode(text, add_special_tokens=False).ids]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out, but for those around thoughts."""
        return self._backend.decode([token for token in ids if token not in self._unspoken], skip_special_tokens=False)

    def before(self, preamble: str | None) -> list[int]:
        """What is read before every document: none, or the preamble, or the beginning of a conversation with it."""
        if self.chat is not None:
            return self.encode_pieces(self.chat.before(preamble))
        return [] if preamble is None else [self.begin_id, *self.encode(preamble)]

    @cached_property
    def begin(self) -> tuple[int, ...]:
        """What a document's own tokens begin with; a conversation has its beginning before the document."""
        return () if self.chat is not None else (self.begin_id,)

    @property
    def begins_thinking(self) -> bool:
        """Whether an answer begins within thoughts."""
        return self.chat is not None and self.chat.begins_thinking

    def bytes_of(self, ids: Iterable[int]) -> bytes:
        """The UTF-8 that token ids stand for, which may end within a character; special tokens stand for nothing.

        Exact for the byte-level tokenizers that `train` makes.
        """
        spelled = self._spelled
        return b"".join(spelled[token] for token in ids)

    @cached_property
    def _spelled(self) -> list[bytes]:
        """The bytes of each token by its id; none of special ones."""
        byte_of = {character: byte for byte, character in _characters_of_bytes()}
        special = {token.content for token in self._backend.get_added_tokens_decoder().values()}
        vocabulary = self._backend.get_vocab(with_added_tokens=True)
        spelled = [b""] * (max(vocabulary.values()) + 1)
        for token, number in vocabulary.items():
            if token not in special:
                spelled[number] = bytes(byte_of[character] for character in token)
        return spelled

    @property
    def vocab_size(self) -> int:
        return self._backend.get_vocab_size()

    def check_fits(self, num_embeddings: int, named: hub.Named = hub.OF_A_RUN) -> None:
        """Raises ModelError where it has a token that the model's embedding has no row for."""
        largest = max(self._backend.get_vocab(with_added_tokens=True).values(), default=-1)
        if largest >= num_embeddings:
            raise ModelError(
                f"the tokenizer has token ids up to {largest}, the model's embedding {num_embeddings} rows: "
                f"they do not belong together; {named.advice}"
            )

    @cached_property
    def begin_id(self) -> int:
        """The token that stands before a document."""
        return self._first_of((*BEGIN_NAMES, *self._named("bos_token")))

    @cached_property
    def end_id(self) -> int:
        """The token at which an answer stops, of a model that is trained here."""
        return self._first_of((*END_OF_TEXT_NAMES, *self._named("eos_token")))

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """Those at which an answer stops: by their usual name, and by tokenizer_config.json."""
        known = (self._id_of(END_OF_TEXT_NAMES), self._id_of(self._named("eos_token")))
        return frozenset(token for token in known if token is not None)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that token ids depend on."""
        depends = self.serialized
        if self.end_ids != {self._id_of(END_OF_TEXT_NAMES)} or self._id_of(BEGIN_NAMES) is None:
            depends += json.dumps([sorted(self.end_ids), self._id_of(self._named("bos_token"))])
        depends += self.chat.fingerprint if self.chat is not None else ""
        return sha256(depends.encode()).hexdigest()

    @cached_property
    def _unspoken(self) -> frozenset[int]:
        special = self._backend.get_added_tokens_decoder().items()
        return frozenset(number for number, token in special if token.special and token.content not in (OPEN, CLOSE))

    @cached_property
    def _of_markup(self) -> Backend:
        """One of its own: that of documents must never know special tokens, whoever else uses it meanwhile."""
        return Backend.from_str(self.serialized)

    def _named(self, kind: str) -> tuple[str, ...]:
        """The special token of that kind, by tokenizer_config.json."""
        token = self._about.get(kind)
        token = token.get("content") if isinstance(token, dict) else token
        return (token,) if isinstance(token, str) else ()

    def _id_of(self, names: Iterable[str]) -> int | None:
        """Of the first that there is."""
        found = (self._backend.token_to_id(name) for name in names)
        return next((token for token in found if token is not None), None)

    def _first_of(self, names: tuple[str, ...]) -> int:
        if (token := self._id_of(names)) is None:
            raise ModelError(f"the tokenizer has none of the special tokens {', '.join(names)}")
        return token


def _backend(serialized: str, where: str) -> Backend:
    try:
        return Backend.from_str(serialized)
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelError(f"{where} is no tokenizer: {error}") from error


def _about(path: Path) -> Mapping[str, Any]:
    try:
        about = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({error})") from error
    if not isinstance(about, dict):
        raise ModelError(f"{path} holds no JSON object")
    return about


def _characters_of_bytes() -> Iterator[tuple[int, str]]:
    """How byte-level tokenizers since GPT-2 spell each byte: as Latin-1 where that is seen, else from U+0100 on."""
    unseen = 0x100
    for byte in range(0x100):
        if chr(byte).isprintable() and byte != ord(" ") and byte != 0xAD:
            yield byte, chr(byte)
        else:
            yield byte, chr(unseen)
            unseen += 1
