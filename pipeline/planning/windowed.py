"""What documents that are too long take beside their own tokens where they are read in windows, before anybody has read
them: prompts for each window, answers about it, and reading those again until one is left."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from configs.settings import SummarizeConfig
from models.engine.request import Prompt
from models.weights.tokenizer import Tokenizer
from pipeline.prompts.bound import BoundPrompts
from pipeline.prompts.joining import BETWEEN, Part, grouped, joined


@dataclass(frozen=True)
class Beside:
    """Of one document or several. Answers are taken to be as long as they may be."""

    num_windows: int = 0
    tokens_read: int = 0
    """Of prompts, and of answers that are read again."""
    tokens_decoded: int = 0

    def __add__(self, other: "Beside") -> "Beside":
        return Beside(
            self.num_windows + other.num_windows,
            self.tokens_read + other.tokens_read,
            self.tokens_decoded + other.tokens_decoded,
        )


class Windowed:
    """Documents of more tokens than fit, as `pipeline.actor.windows` reads them."""

    def __init__(self, config: SummarizeConfig, tokenizer: Tokenizer, most_tokens: int) -> None:
        """`most_tokens` are as many as fit beside the longest prompt and its answer, at least 1."""
        self._prompts, _ = BoundPrompts(config.prompts, None, tokenizer).of("")
        self._reduces = config.long_documents == "map_reduce"
        self._tokenizer, self._most = tokenizer, most_tokens

    def all(self, lengths: Iterable[int]) -> Beside:
        """Of documents with so many tokens each."""
        return sum(map(self.of, lengths), Beside())

    def of(self, num_tokens: int) -> Beside:
        """Of a document."""
        starts = range(0, num_tokens, self._most)
        windows = [Part(start, min(start + self._most, num_tokens), "") for start in starts]
        asked = sum((self._asked(prompt, windows) for prompt in self._prompts), Beside())
        return Beside(len(windows)) + asked

    def _asked(self, prompt: Prompt, parts: list[Part]) -> Beside:
        """One prompt, about the windows and then about the answers. Where not even two of these fit, the run gives the
        document up."""
        answer = Beside(0, len(prompt.tokens), prompt.sampling.max_tokens)
        found = sum((answer for _ in parts), Beside())
        while self._reduces and len(parts) > 1:
            groups = grouped(parts, lambda group: self._read_again(group, answer) <= self._most)
            if len(groups) == len(parts):
                break
            for group in groups:
                if len(group) > 1:
                    found += answer + Beside(0, self._read_again(group, answer))
            parts = [Part(group[0].start, group[-1].end, "") for group in groups]
        return found

    def _read_again(self, parts: Sequence[Part], answer: Beside) -> int:
        """Tokens of so many answers under their ranges."""
        ranges = sum(len(self._tokenizer.encode(joined([part]))) for part in parts)
        between = len(self._tokenizer.encode(BETWEEN)) * (len(parts) - 1)
        return len(self._tokenizer.begin) + ranges + between + len(parts) * answer.tokens_decoded
