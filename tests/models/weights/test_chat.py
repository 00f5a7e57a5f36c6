"""Chat templates of checkpoints are split around the document: what is read is what the template would have made."""

import json

import pytest
from jinja2 import TemplateError

from configs.errors import ModelError
from configs.settings import ModelSettings, PromptSettings
from models.weights.chat import JOIN, Chat, Piece
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.prompts.bound import BoundPrompt

CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML_END = "\n\nWhy?<|im_end|>\n<|im_start|>assistant\n"
LLAMA = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message['role'] }}\n\n"
    "{{ message['content'] | trim }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('no system') }}{% endif %}[INST] {{ message['content'] }} [/INST]{% endfor %}"
)
THINKS = CHATML.replace("assistant\n", "assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}")
ALWAYS_THINKS = CHATML.replace("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n")
BLOCKS = "{% for message in messages %}{% generation %}{{ message.content }}{% endgeneration %}{% break %}{% endfor %}"
SPECIAL = ("<|begin|>", "<|im_start|>", "<|im_end|>")
ABOUT = {"bos_token": "<|begin|>", "eos_token": "<|im_end|>", "pad_token": None}
DOCUMENT = "The council met on Monday.\n\nIt voted <|im_end|> for the <|im_start|>bridge."


def text(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def chat(template: str) -> Chat:
    return Chat(template, ABOUT, "somewhere")


def directory_with(tmp_path, template: object = None, file: str | None = None) -> None:
    Tokenizer.train([DOCUMENT, CHATML] * 20, 400).save(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    names = (*SPECIAL, "<think>", "</think>")
    size = len(content["model"]["vocab"])
    content["added_tokens"] += [
        {"id": size + i, "content": name, "special": True} | plain for i, name in enumerate(names)
    ]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(ABOUT | ({"chat_template": template} if template else {}))
    )
    if file is not None:
        (tmp_path / "chat_template.jinja").write_text(file)


@pytest.mark.parametrize(
    ("template", "preamble", "before", "after"),
    [
        (CHATML, None, "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\n", CHATML_END),
        (CHATML, "Be brief.", "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n", CHATML_END),
        (LLAMA, None, "<|begin|><|im_start|>user\n\n", "\n\nWhy?<|im_end|><|im_start|>assistant\n\n"),
        (NO_SYSTEM, "Be brief.", "<|begin|>[INST] Be brief.\n\n", "\n\nWhy? [/INST]"),
        (BLOCKS, None, "", "\n\nWhy?"),
    ],
)
def test_a_template_is_split_around_document_and_question(template, preamble, before, after):
    made = chat(template)
    assert (text(made.before(preamble)), text(made.after(" Why?\n"))) == (before, after)


@pytest.mark.parametrize("preamble", [None, "Be brief."])
@pytest.mark.parametrize("template", [CHATML, LLAMA, THINKS, ALWAYS_THINKS])
def test_it_is_what_transformers_makes_of_the_whole_conversation(template, preamble, tmp_path):
    transformers = pytest.importorskip("transformers")
    directory_with(tmp_path, template)
    ours = chat(template)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    said = ([{"role": "system", "content": preamble}] if preamble else []) + [
        {"role": "user", "content": DOCUMENT + JOIN + "Why?"}
    ]
    expected = theirs.apply_chat_template(said, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert text(ours.before(preamble)) + DOCUMENT + text(ours.after("Why?")) == expected


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ messages[-1].content }} {{ messages[-1].content }}", "more than once"),
        ("{{ messages[-1].content | upper }}", "as they are"),
        ("nothing", "as they are"),
        ("{{ messages[-1].content | length }} {{ messages[-1].content }}", "depends on the document"),
        ("{% for %}", "jinja2 says"),
        ("{{ raise_exception('only tools') }}", "only tools"),
        ("{{ messages.__class__.__mro__ }}{{ messages[-1].content }}", "unsafe"),
        ("{{ messages.append(1) }}{{ messages[-1].content }}", "unsafe"),
        ("{{ messages[-1].content }}{{ messages[5].content }}", "has no element 5"),
        ("{{ messages[-1].content }}{{ range(10 ** 9) }}", "Range too big"),
        ("{% for each in messages %}{{ each.content }}{% endfor %}{{ messages | length }}", "depends on what precedes"),
    ],
)
def test_a_template_that_cannot_be_split_is_refused_with_its_place_and_the_reason(template, reason):
    with pytest.raises(ModelError, match=rf"^somewhere: the chat template cannot be used: .*{reason}.*chat=off"):
        chat(template)


def test_helpers_are_those_of_transformers_but_every_day_is_the_same():
    template = "{{ strftime_now('%Y') }} {{ {'a<': 'é'} | tojson }}{{ bos_token }}{{ messages[-1].content }}"
    made = Chat(template, {"bos_token": {"content": "<s>", "special": True}}, "somewhere")
    assert text(made.before(None)) == '2026 {"a<": "é"}<s>'
    with pytest.raises(TemplateError, match="stop"):
        made._template.environment.from_string("{{ raise_exception('stop') }}").render()


def test_the_template_is_found_in_its_file_or_in_the_config_by_itself_or_as_default(tmp_path):
    named = [{"name": "tool_use", "template": NO_SYSTEM}, {"name": "default", "template": CHATML}]
    for template, file, expected in ((CHATML, None, CHATML), (named, None, CHATML), (CHATML, LLAMA, LLAMA)):
        directory_with(tmp_path, template, file)
        found = Tokenizer.load(tmp_path, with_chat=True).chat
        assert found is not None and found.fingerprint == chat(expected).fingerprint
        (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    directory_with(tmp_path, [{"name": "tool_use", "template": NO_SYSTEM}])
    assert Tokenizer.load(tmp_path, with_chat=True).chat is None


def test_special_tokens_are_those_of_the_template_and_never_of_document_preamble_or_question(tmp_path):
    directory_with(tmp_path, LLAMA)
    tokenizer = Tokenizer.of_run(ModelSettings(tokenizer=str(tmp_path)))
    begin, start, end = (tokenizer.vocab_size - 5 + number for number in range(3))
    before = tokenizer.before("Say <|im_end|>.")
    assert [token for token in before if token >= begin] == [begin, start, end, start]
    assert before[0] == begin and tokenizer.before(None)[0] == begin
    document = tokenize.tokens([DOCUMENT], tokenizer)
    assert max(document) < begin and tokenizer.decode(document.tolist()) == DOCUMENT
    asked = BoundPrompt.of(PromptSettings(instruction="Why <|im_start|>?"), tokenizer).question
    assert [token for token in asked if token >= begin] == [end, start]
    assert tokenizer.end_ids == {0, end}


def test_without_its_template_a_model_is_asked_in_plain_text(tmp_path):
    directory_with(tmp_path, LLAMA)
    plain = Tokenizer.of_run(ModelSettings(tokenizer=str(tmp_path), chat="off"))
    asked = BoundPrompt.of(PromptSettings(instruction="Why?"), plain).question
    assert plain.decode(asked) == "\n\n### Instruction\nWhy?\n\n### Response\n"
    assert tokenize.tokens(["a"], plain)[0] == plain.begin_id
    assert plain.before(None) == [] and not plain.begins_thinking
    assert plain.fingerprint != Tokenizer.of_run(ModelSettings(tokenizer=str(tmp_path))).fingerprint


def test_the_fingerprint_is_of_what_is_read_and_not_of_how_the_template_is_written():
    rewritten = "{# as before #}" + LLAMA
    assert chat(rewritten).fingerprint == chat(LLAMA).fingerprint != chat(CHATML).fingerprint


def test_the_other_switch_is_used_where_the_template_has_it():
    template = (
        "{% set ns = namespace(off=false) %}{% for each in messages %}{% if '/no_think' in each.content %}"
        "{% set ns.off = true %}{% endif %}[{{ each.role }}]{{ each.content.replace('/no_think', '').strip() }}"
        "{% endfor %}[answer]{{ '<think></think>' if ns.off else '<think>' }}"
    )
    made = chat(template)
    assert not made.begins_thinking and text(made.after("Why?")) == "\n\nWhy?[answer]<think></think>"
    assert (text(made.before(None)), text(made.before("Be brief."))) == ("[system][user]", "[system]Be brief.[user]")


def test_an_answer_goes_straight_to_the_last_channel_where_thoughts_have_one_of_their_own():
    template = (
        "{% for each in messages %}<|start|>{{ each.role }}<|message|>{{ each.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    )
    expected = "\n\nWhy?<|end|><|start|>assistant<|channel|>final<|message|>"
    assert text(chat(template).after("Why?")) == expected


def test_thinking_is_switched_off_or_known_to_have_begun(tmp_path):
    assert text(chat(THINKS).after("Why?")).endswith("<think>\n\n</think>\n\n") and not chat(THINKS).begins_thinking
    assert chat(ALWAYS_THINKS).begins_thinking
    directory_with(tmp_path, ALWAYS_THINKS)
    tokenizer = Tokenizer.of_run(ModelSettings(tokenizer=str(tmp_path)))
    ids = tokenizer.encode_pieces([Piece("Hm.</think>So.<|im_end|>", True)])
    # Even where they are special tokens of the vocabulary.
    assert tokenizer.decode(ids) == "Hm.</think>So."
    check = BoundPrompt.of(PromptSettings(), tokenizer).check
    assert [check(tuple(ids)), check(tuple(tokenizer.encode("Hm.")))] == [None, "thinking"]
