"""Pages in a headless Chromium, where there is one, and what they say and ask for."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@dataclass
class Watched:
    """A page that is open."""

    tab: Any
    said: list[str] = field(default_factory=list)
    """On its console and in dialogs."""
    asked: list[str] = field(default_factory=list)
    """URLs that it requested."""


@contextmanager
def started() -> Iterator[Any]:
    """A browser. Skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH, nor in CHROMIUM")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def watched(browser: Any, file: Path, viewport: dict[str, int] = DESKTOP, scheme: str = "light") -> Iterator[Watched]:
    """A file in a tab of its own."""
    tab = browser.new_page(viewport=viewport, color_scheme=scheme)
    page = Watched(tab)
    tab.on("console", lambda message: page.said.append(message.text))
    tab.on("pageerror", lambda error: page.said.append(str(error)))
    tab.on("dialog", lambda dialog: (page.said.append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda request: page.asked.append(request.url))
    tab.goto(file.as_uri())
    yield page
    tab.close()


def picture(name: str, viewport: dict[str, int], scheme: str) -> str | None:
    """Where a screenshot goes: SCREENSHOTS names a folder to look at them in."""
    folder = os.environ.get("SCREENSHOTS")
    return folder and f"{folder}/{name}-{viewport['width']}-{scheme}.png"
