"""The text that follows a document: the instruction that the model then answers. Training uses the same template."""

import json

DEFAULT_INSTRUCTION = "Summarize the document."
ONE_SENTENCE_INSTRUCTION = "Summarize the document in one sentence."

UNSHOWN = ("$schema", "$id", "$comment")
"""Keys of a schema that say nothing about an answer."""


def render(instruction: str, schema: dict[str, object] | None = None) -> str:
    """The text that follows the document; the model's answer follows it."""
    return f"\n\n### Instruction\n{question(instruction, schema).strip()}\n\n### Response\n"


def question(instruction: str, schema: dict[str, object] | None = None) -> str:
    """The instruction, with the schema if the answer must be JSON."""
    if schema is None:
        return instruction
    # Sorted as in the fingerprint of the settings: the same schema in another order is the same prompt.
    text = json.dumps(shown(schema), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return f"{instruction.strip()}\nAnswer with JSON only, which fits this JSON schema: {text}"


def shown(schema: dict[str, object]) -> dict[str, object]:
    """The part of a schema that the model sees."""
    return {key: value for key, value in schema.items() if key not in UNSHOWN}
