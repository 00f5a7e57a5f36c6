"""The words around a document: what the model reads after it and then answers. Training uses the very same."""

DEFAULT_INSTRUCTION = "Summarise the document."
ONE_SENTENCE_INSTRUCTION = "Summarise the document in one sentence."


def render(instruction: str) -> str:
    """The text that follows the document; the model's answer follows it."""
    return f"\n\n### Instruction\n{instruction.strip()}\n\n### Response\n"
