"""What the pages say is so: commands run, settings exist, links lead somewhere, generated pages are the code's."""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import yaml

from configs.errors import ConfigError
from configs.loader import fields
from configs.prices import Catalog
from configs.settings import SummarizeConfig
from docs import generate
from jobs import exits
from tests import documented
from tests.jobs.warm import Warm
from tests.kept_states import Keeper
from tests.nights import write_nights

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [
    README,
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / folder / "README.md" for folder in ("benchmarks", "infra", "models/default", "pipeline/sentences")),
]
NIGHT = date(2026, 3, 7)
SETTING = re.compile(r"`((?:input|output|model|sections|engine|states|snapshot|price|run)\.[a-z_]+)\b(?!\()")
ANOTHER = {"run.py", "run.json", "model.safetensors", "states.md"}
"""What looks like a setting."""


def names(pages: list[Path]) -> list[str]:
    return [page.relative_to(ROOT).as_posix() for page in pages]


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_commands_are_of_targets_jobs_and_settings_that_exist(page):
    assert documented.wrong_commands(text_of(page), text_of(ROOT / "Makefile"), ROOT) == []


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_somewhere(page):
    assert documented.wrong_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_settings_that_are_named_exist(page):
    assert set(SETTING.findall(text_of(page))) - ANOTHER <= {field.name for field in fields(SummarizeConfig)}


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_examples_of_settings_are_taken(page):
    for block in documented.blocks(text_of(page), "yaml"):
        given = yaml.safe_load(block)
        if "prompts" in given:
            SummarizeConfig.model_validate({"input": {"sources": ["x"]}} | given)
        if "prices" in given:
            Catalog.model_validate(given)


@pytest.mark.parametrize("name", generate.PAGES)
def test_generated_pages_are_those_of_the_code(name):
    assert text_of(ROOT / "docs" / name) == generate.PAGES[name](), "run `make docs`"


def clicked(pages: set[Path]) -> set[Path]:
    """Where their links lead."""
    return {
        (page.parent / link.partition("#")[0]).resolve() if link[0] != "#" else page
        for page in pages
        for link in documented.links(page)
    }


def test_every_page_is_at_most_two_clicks_from_a_short_readme():
    assert len(text_of(README).splitlines()) <= 150
    one = clicked({README})
    assert {*PAGES} <= {README, *one, *clicked(one & {*PAGES})}


@pytest.mark.parametrize(
    ("target", "clicks"), [("pipeline/documents/extract.py", 2), ("docs/operations.md", 1), ("docs/tables.md", 1)]
)
def test_a_newcomer_finds_formats_spot_notices_and_columns(target, clicks):
    found = {README}
    for _ in range(clicks):
        found = clicked({page for page in found if page.suffix == ".md"})
    assert ROOT / target in found


def test_exit_codes_are_those_of_the_jobs():
    codes = {value for name, value in vars(exits).items() if name.isupper()}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", text_of(README), re.MULTILINE)} == codes


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Iterator[Warm]:
    with Warm(tmp_path_factory.mktemp("warm")) as process:
        yield process


@pytest.fixture
def places(tmp_path) -> dict[str, str]:
    """What the pages' commands read and write, by its name there: an output with a week of runs and a state."""
    output = tmp_path / "output"
    write_nights(output, NIGHT)
    keeper = Keeper(str(output))
    keeper.keep(keeper.row("report.txt", "aa"))
    (tmp_path / "bill.csv").write_text(f"date,cost\n{NIGHT},5.00\n")
    (tmp_path / "my-prices.yaml").write_text((ROOT / "configs/prices.yaml").read_text())
    given = ("output", "bill.csv", "my-prices.yaml", "report.html", "review.html", "focus.parquet", "focus.csv")
    return {name: str(tmp_path / name) for name in given}


def runs_here(module: str, arguments: list[str]) -> bool:
    """Whether a command needs neither Ray nor a model, a network or S3."""
    reads = module in ("jobs.query", "jobs.report", "jobs.review", "jobs.sizing") or "--help" in arguments
    named = {"jobs.prices": ("list",), "jobs.runs": ("list", "prune"), "jobs.states": ("list", "expire")}
    return reads or (bool(arguments) and arguments[0] in named.get(module, ()))


def test_commands_that_need_nothing_else_run(run, places):
    shown = {(module, *arguments) for page in PAGES for module, arguments in documented.jobs(text_of(page))}
    here = [command for command in sorted(shown) if runs_here(command[0], list(command[1:]))]
    assert len(here) > 10
    for module, *arguments in here:
        done = run(module, [places.get(word, word) for word in arguments])
        assert done.returncode == 0, f"{module} {arguments}: {done.stderr}"


SCRATCH = """
```console
$ make demo SOURCES=docs/   # your own
demo finished
$ AWS_PROFILE=me python -m jobs.train configs/train_default.yaml \\
    steps=4 data.weights={}
$ python -m jobs.report output --run night
$ make deom
$ make demo SUORCES=x
$ ray job submit -- python -m jobs.tarin configs/train_default.yaml
$ .venv/bin/python -m jobs.train configs/missing.yaml
$ python -m jobs.train configs/train_default.yaml setps=4
$ python -m jobs.train
```
```python
make nothing_of_this
```
"""


def test_the_checks_find_wrong_commands():
    wrong = documented.wrong_commands(SCRATCH, "demo: setup  ## x\nSOURCES ?=\n", ROOT)
    reasons = ["no deom", "no SUORCES", "no module jobs.tarin", "missing.yaml", "did you mean steps?", "is missing"]
    assert len(wrong) == len(reasons)
    assert all(reason in line for reason, line in zip(reasons, wrong, strict=True))


def test_the_checks_find_wrong_links(tmp_path):
    (tmp_path / "other.md").write_text("# Two words, `code`\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](other.md) [b](other.md#two-words-code) [c](#here) [d](https://x.y/z)\n"
        "[e](gone.md) [f](other.md#gone) [g](#gone)\n```text\n[h](gone.md)\n```\n"
    )
    assert documented.wrong_links(page) == ["gone.md", "other.md#gone", "#gone"]


def test_a_wrong_setting_in_an_example_is_refused():
    with pytest.raises((ConfigError, ValueError), match="max_token"):
        SummarizeConfig.model_validate({"input": {"sources": ["x"]}, "prompts": [{"name": "a", "max_token": 1}]})
