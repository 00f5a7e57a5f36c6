"""A Prometheus of the test's own, which scrapes one address every second."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import yaml

from tests.waiting import wait_for

Series = list[dict[str, Any]]


def program(name: str = "prometheus") -> str:
    """Its path, or promtool's. Skips where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip("Prometheus is not installed")
    return found


class Prometheus:
    def __init__(self, folder: Path, port: int, target: str, rules: Path) -> None:
        self._folder, self._address, self._began = folder, f"127.0.0.1:{port}", time.time()
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "ray", "static_configs": [{"targets": [target]}]}],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")

    def __enter__(self) -> Self:
        command = [
            *(program(), f"--config.file={self._folder / 'prometheus.yaml'}"),
            *(f"--storage.tsdb.path={self._folder / 'data'}", f"--web.listen-address={self._address}"),
        ]
        self._log = (self._folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)
        wait_for(self._is_ready, "Prometheus starts", lambda: (self._folder / "prometheus.log").read_text())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()

    def now(self, query: str) -> Series:
        """What holds at this moment."""
        return self._asked("query", query=query)["result"]

    def ever(self, query: str) -> Series:
        """What held at any moment since it began."""
        return self._asked("query_range", query=query, start=self._began, end=time.time(), step=1)["result"]

    def rules(self) -> Series:
        """As it runs them."""
        return [rule for group in self._asked("rules")["groups"] for rule in group["rules"]]

    def _asked(self, path: str, **parameters: object) -> Any:
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{parameters}: {error.read().decode()}")

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False
