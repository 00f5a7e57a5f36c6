"""The lock says what pyproject.toml asks for, holds no address, and is what is installed."""

import ast
import re
import sys
import sysconfig
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN, DEV = PROJECT["project"]["dependencies"], PROJECT["dependency-groups"]["dev"]
EXTRAS = [text for extra in PROJECT["project"]["optional-dependencies"].values() for text in extra]
INFRA = PROJECT["dependency-groups"]["infra"]
LOCKS = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("requirements.lock", "requirements-torch.lock")}
INFRA_LOCK = (ROOT / "requirements-infra.lock").read_text(encoding="utf-8")
"""Tools that need nothing of the others; not every platform has them, and they come without what they depend on."""
OURS = {"configs", "models", "pipeline", "jobs", "infra", "tests", "benchmarks", "docs"}
OF_THE_VENV = {"pip", "longhaul"}
"""What no lock need name: what every venv begins with, and this project's own metadata."""


def pins(text: str) -> Iterator[Requirement]:
    """Every requirement of a lock, without its hashes."""
    for line in text.replace("\\\n", " ").splitlines():
        if not line.lstrip().startswith("#"):
            yield Requirement(line.partition(" --hash")[0])


PINS = [pin for text in LOCKS.values() for pin in pins(text)]
LOCKED = defaultdict(list)
for each in PINS:
    LOCKED[canonicalize_name(each.name)].append(each)


def version(pin: Requirement) -> Version:
    (specifier,) = pin.specifier
    return Version(specifier.version)


def here(*locks: str) -> dict[str, Version]:
    """What those locks name for this Python on this machine."""
    found = [pin for lock in locks for pin in pins(LOCKS[lock]) if pin.marker is None or pin.marker.evaluate()]
    return {canonicalize_name(pin.name): version(pin) for pin in found}


def installed() -> dict[str, Version]:
    # Of this environment: Ray puts packages of its own on sys.path when it is imported.
    found = distributions(path=[sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    return {canonicalize_name(each.name): Version(each.version) for each in found}


def differences(installed: dict[str, Version]) -> list[str]:
    """What a person would have to install, or remove, to have what the lock says.

    The CPU build of torch is the locked version with a local part, and brings nothing that is CUDA's.
    """
    on_cpu = installed["torch"].local == "cpu"
    tools = {canonicalize_name(pin.name): version(pin) for pin in pins(INFRA_LOCK)}
    expected = here("requirements.lock") if on_cpu else here(*LOCKS)
    expected |= {"torch": here("requirements-torch.lock")["torch"]}
    expected |= {name: locked for name, locked in tools.items() if name in installed}
    actual = {name: Version(found.public) for name, found in installed.items() if name not in OF_THE_VENV}
    names = sorted({name for name in expected | actual if expected.get(name) != actual.get(name)})
    return [f"{name}: {actual.get(name)} is installed, {expected.get(name)} is locked" for name in names]


@pytest.mark.parametrize("text", [*RUN, *DEV])
def test_what_pyproject_asks_for_is_locked_within_its_bounds(text):
    asked = Requirement(text)
    found = LOCKED[canonicalize_name(asked.name)]
    assert found, "not in the lock: run `make lock`"
    assert all(asked.specifier.contains(version(pin)) for pin in found), "outside its bounds: run `make lock`"


def test_the_lock_of_the_tools_has_each_within_its_bounds_and_nothing_else():
    locked = {canonicalize_name(pin.name): version(pin) for pin in pins(INFRA_LOCK)}
    asked = {canonicalize_name(each.name): each.specifier for each in map(Requirement, INFRA)}
    assert locked.keys() == asked.keys(), "run `make lock`"
    assert [name for name, found in locked.items() if not asked[name].contains(found)] == []


def test_each_line_names_one_version():
    for pin in [*PINS, *pins(INFRA_LOCK)]:
        assert [specifier.operator for specifier in pin.specifier] == ["=="], pin
        assert not pin.url and "*" not in str(pin.specifier), pin


@pytest.mark.parametrize("text", [*LOCKS.values(), INFRA_LOCK], ids=[*LOCKS, "requirements-infra.lock"])
def test_each_line_has_hashes_and_none_an_address(text):
    """Nor an option of pip's, which would say where to look."""
    for line in text.replace("\\\n", " ").splitlines():
        assert line.lstrip().startswith("#") or re.fullmatch(r"[^/@]+?(\s+--hash=sha256:[0-9a-f]{64})+\s*", line)
    assert not re.search(r"://|^\s*-(?!-hash)|/(?:home|root|tmp|opt)/", text, re.MULTILINE)


def test_torch_and_what_its_build_with_cuda_brings_stand_apart():
    """On a machine without a GPU none of it is installed."""
    apart = {pin.name for pin in pins(LOCKS["requirements-torch.lock"])}
    assert "torch" in apart
    assert not {name for name in apart - {"torch"} if not name.startswith(("nvidia-", "cuda-"))}
    assert not [pin for pin in pins(LOCKS["requirements.lock"]) if pin.name.startswith(("torch", "nvidia", "cuda"))]


def test_what_is_installed_is_the_lock():
    assert differences(installed()) == []


def test_whatever_is_newer_missing_or_unasked_is_noticed():
    """As after `pip install -U` of anything."""
    locked = here("requirements.lock") | {"torch": here("requirements-torch.lock")["torch"]}
    locked["torch"] = Version(f"{locked['torch']}+cpu")
    assert differences(locked) == []
    for name, found in locked.items():
        newer = Version(f"{found.public}.post99" if not found.is_postrelease else f"{found.base_version}.post99")
        assert differences(locked | {name: newer if name != "torch" else Version(f"{newer}+cpu")})
    missing = {name: found for name, found in locked.items() if name != "ray"}
    assert differences(missing) == [f"ray: None is installed, {locked['ray']} is locked"]
    (tool, *_) = pins(INFRA_LOCK)
    name = canonicalize_name(tool.name)
    assert differences(locked | {name: version(tool)}) == []
    assert differences(locked | {name: Version("99.0")}) == [f"{name}: 99.0 is installed, {version(tool)} is locked"]
    unasked = locked | {"nvidia-cublas": Version("1.0")}
    assert differences(unasked) == ["nvidia-cublas: 1.0 is installed, None is locked"]


def test_a_build_with_cuda_needs_what_it_brings():
    with_cuda = here(*LOCKS)
    assert differences(with_cuda) == []
    without = {name: found for name, found in with_cuda.items() if name != "nvidia-cublas"}
    assert bool(differences(without)) == ("nvidia-cublas" in with_cuda)


@cache
def distributions_of() -> Mapping[str, list[str]]:
    return packages_distributions()


def providers(module: str) -> set[str]:
    """The packages that bring a module; one that is not installed is looked for under its own name."""
    return {canonicalize_name(each) for each in distributions_of().get(module, [module])}


def imported(folder: str) -> set[str]:
    """The first names of every module that a folder's files import, relative imports aside."""
    names = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - OURS


@pytest.mark.parametrize("folder", sorted(OURS))
def test_what_is_imported_is_asked_for(folder):
    """Nothing works because another package happens to bring it; torch's build with CUDA alone brings Triton."""
    asked = [*RUN, *EXTRAS, *(DEV if folder in ("tests", "benchmarks") else ["triton"])]
    names = {canonicalize_name(Requirement(text).name) for text in asked}
    assert not [name for name in imported(folder) if not names & providers(name)]
