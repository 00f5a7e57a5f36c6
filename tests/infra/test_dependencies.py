"""Licenses that nobody agreed to and known vulnerabilities fail `make check`; a network that is not there does not."""

import json

import pytest

from infra import dependencies
from infra.dependencies import is_permissive, main, pins, unlisted, vulnerable


def nobody(question: bytes) -> bytes:
    raise OSError("no route to host")


def osv(*ids: str, about: str = ""):
    """Answers as OSV does: one result for each package, in order."""

    def answer(question: bytes) -> bytes:
        names = [each["package"]["name"] for each in json.loads(question)["queries"]]
        known = [{"id": each} for each in ids]
        return json.dumps({"results": [{"vulns": known} if name == about else {} for name in names]}).encode()

    return answer


@pytest.mark.parametrize(
    "license",
    ["MIT", "BSD-3-Clause AND 0BSD AND Zlib", "Apache 2.0 License", "MPL-1.1 OR GPL-2.0-only", "3-Clause BSD License"],
)
def test_permissive(license):
    assert is_permissive(license)


@pytest.mark.parametrize("license", ["GPL-3.0", "MIT AND AGPL-3.0-only", "LGPL-2.1", "Proprietary", "SSPL-1.0", ""])
def test_not_permissive(license):
    assert not is_permissive(license)


def test_every_license_of_the_locks_is_on_the_list():
    assert unlisted(name for name, _ in pins()) == []


def test_a_license_that_is_not_is_named(monkeypatch):
    monkeypatch.setattr(dependencies, "license_of", {"a": "MIT", "b": "GPL-3.0", "c": None}.get)
    assert unlisted(["a", "b", "c", "nvidia-x"]) == ["b: GPL-3.0"]


def test_a_known_vulnerability_is_named_and_one_that_was_accepted_is_not(monkeypatch, capsys):
    packages = [("ray", "2.60.0"), ("numpy", "2.0")]
    assert vulnerable(packages, osv("GHSA-1", "GHSA-2", about="ray")) == ["ray 2.60.0: GHSA-1", "ray 2.60.0: GHSA-2"]
    monkeypatch.setitem(dependencies.ACCEPTED, "GHSA-1", "not reachable here")
    assert vulnerable(packages, osv("GHSA-1", about="ray")) == []
    assert main(osv("GHSA-3", about="ray")) == 1
    assert "known vulnerability: ray" in capsys.readouterr().out


def test_without_a_network_it_says_so_and_goes_on(capsys):
    assert main(nobody) == 0
    assert "were not asked for: no route to host" in capsys.readouterr().out
