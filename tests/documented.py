"""What pages of documentation show: their commands, links and headings, and what is wrong with them."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from configs.errors import ConfigError
from configs.loader import Settings, load
from configs.settings import SummarizeConfig
from configs.training import TrainConfig

SETTINGS: dict[str, type[Settings]] = {"train": TrainConfig}
"""Of the jobs that take a config file; any other that does takes SummarizeConfig."""
WITHOUT_CONFIG = {
    "query", "report", "review", "selftest", "demo", "states", "prices", "sizing", "evaluate", "probe", "train_extract",
    "runs", "status",
}  # fmt: skip
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
ENVIRONMENT = re.compile(r"[A-Z][A-Z0-9_]*=")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def blocks(text: str, *languages: str) -> Iterator[str]:
    """The fenced blocks in any of these languages."""
    return (block for language, block in FENCE.findall(text) if language in languages)


def commands(text: str) -> Iterator[list[str]]:
    """Words of each command in a `console` block (after `$`), continued lines joined, comments gone."""
    for block in blocks(text, "console"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True) if line.startswith("$ ") else []
            while words and ENVIRONMENT.match(words[0]):
                words = words[1:]
            if words:
                yield words


def jobs(text: str) -> Iterator[tuple[str, list[str]]]:
    """Module and arguments of each command that runs a job, also through `ray job submit`."""
    for words in commands(text):
        if "-m" in words and words[words.index("-m") + 1].startswith("jobs."):
            place = words.index("-m")
            yield words[place + 1], words[place + 2 :]


def wrong_commands(text: str, makefile: str, root: Path) -> list[str]:
    """Why commands do not run, of those that do not: unknown targets, modules, files and settings."""
    makes = (wrong_make(words, makefile) for words in commands(text) if words[0] == "make")
    others = (wrong_job(module, arguments, root) for module, arguments in jobs(text))
    return [reason for reason in [*makes, *others] if reason]


def wrong_make(words: list[str], makefile: str) -> str | None:
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) \?=", makefile, re.MULTILINE))
    for word in words[1:]:
        name, assigns, _ = word.partition("=")
        if name not in (variables if assigns else targets):
            return f"{' '.join(words)}: the Makefile has no {name}"
    return None


def wrong_job(module: str, arguments: list[str], root: Path) -> str | None:
    command = " ".join([module, *arguments])
    if importlib.util.find_spec(module) is None:
        return f"{command}: there is no module {module}"
    name = module.removeprefix("jobs.")
    if name in WITHOUT_CONFIG or {"-h", "--help"} & set(arguments):
        return None
    if not arguments:
        return f"{command}: a config file is missing"
    path, overrides = root / arguments[0], [word for word in arguments[1:] if "=" in word]
    try:
        load(SETTINGS.get(name, SummarizeConfig), path, overrides)
    except ConfigError as error:
        return f"{command}: {error}"
    return None


def links(page: Path) -> list[str]:
    """Targets within the repository, as the page writes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [target for target in LINK.findall(text) if "://" not in target]


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}


def wrong_links(page: Path) -> list[str]:
    """Those that lead nowhere."""
    wrong = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            wrong.append(target)
    return wrong
