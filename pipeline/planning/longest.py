"""The longest document that a model can read as a whole on a device, with the arithmetic that says so."""

from dataclasses import dataclass

from configs.hardware import RESERVE_BYTES, gpu_named
from configs.settings import SummarizeConfig
from models.backends.capacity import LOGITS_BYTES_PER_PLACE, cpu_cache_bytes
from models.backends.hybrid import SPARE_PAGES
from models.hybrid.paged_cache import PAGE_TOKENS
from models.weights.tokenizer import Tokenizer
from pipeline.planning.footprint import SSM_OVERHEAD, WIDTHS, Footprint
from pipeline.prompts.bound import BoundPrompts
from pipeline.reports.quantities import count, size


@dataclass(frozen=True)
class Longest:
    """A limit of a model and a device."""

    num_tokens: int
    """Of a document, beside preamble, prompt and answer."""
    why: str
    """As a sentence, with the figures."""

    @staticmethod
    def of(model: Footprint, config: SummarizeConfig, tokenizer: Tokenizer, device: str) -> "Longest | None":
        """On `cpu` or a GPU by its name. None where nothing grows with a document, and no context is too small."""
        if not model.cache_numbers and model.max_context is None:
            return None
        beside = _beside(config, tokenizer)
        contexts = [(model.max_context, f"the model's context of {count(model.max_context)} tokens")]
        contexts.append(_in_memory(model, config, device))
        most, why = min((each for each in contexts if each[0] is not None), key=lambda each: each[0] or 0)
        num_tokens = max(0, (most or 0) - beside)
        return Longest(num_tokens, f"{why}, less {count(beside)} for prompt and answer: {count(num_tokens)} tokens")


def _beside(config: SummarizeConfig, tokenizer: Tokenizer) -> int:
    """Tokens of the preamble and of the longest prompt with its answer."""
    whole, of_sections = BoundPrompts(config.prompts, config.sections, tokenizer).of("")
    asked = (len(prompt.tokens) + prompt.sampling.max_tokens for prompt in (*whole, *of_sections))
    return len(tokenizer.before(config.preamble)) + max(asked, default=0)


def _in_memory(model: Footprint, config: SummarizeConfig, device: str) -> tuple[int | None, str]:
    """Tokens of the cache, and what they are made of."""
    kind = "cpu" if device == "cpu" else "cuda"
    dtype = config.model.dtype_on(kind)
    per_token = model.cache_bytes(1, WIDTHS[dtype])
    if not per_token:
        return None, ""
    if config.engine.kv_cache_bytes is not None:
        left, made_of = config.engine.kv_cache_bytes, "engine.kv_cache_gib"
    elif kind == "cpu":
        left, made_of = cpu_cache_bytes(config.engine.cpus_per_actor), "a share of this machine's memory"
    else:
        left, made_of = _beside_weights(model, config, device, dtype)
    pages = max(0, left) // (PAGE_TOKENS * per_token) - SPARE_PAGES
    why = f"{size(left)} ({made_of}) at {size(per_token)} of keys and values for a token"
    return max(0, pages) * PAGE_TOKENS, why


def _beside_weights(model: Footprint, config: SummarizeConfig, device: str, dtype: str) -> tuple[int, str]:
    """As `models.backends.capacity.pages_that_fit` shares a GPU out: at most half of what is free to states."""
    memory = gpu_named(device).memory_bytes
    weights = round(model.weights_bytes(dtype) * SSM_OVERHEAD)
    passes = round((memory - RESERVE_BYTES - weights) * model.passes_share)
    free = memory - RESERVE_BYTES - weights - passes
    cost = 2 * (model.state_bytes + model.vocab_size * LOGITS_BYTES_PER_PLACE)
    slots = min(config.engine.slots_on("cuda"), max(0, free) // 2 // cost)
    made_of = (
        f"{size(memory)} less {size(weights)} for weights and workspace, {size(RESERVE_BYTES)} for libraries and "
        f"{size(slots * cost)} for {slots} slots"
    )
    return free - slots * cost, made_of + (f" and {size(passes)} for passes" if passes else "")
