"""What the jobs' command lines share: a config file, `key=value` overrides, refusals without a traceback."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from configs.errors import LonghaulError
from configs.loader import Settings, describe
from jobs import exits

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Settings; shipped ones are in configs/.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[key=value]...", help="Settings that replace those of the file.")
]


def run(job: Callable[..., Any], settings: type[Settings] | None = None) -> None:
    """Make a command of `job` and run it; its docstring, and the fields of `settings`, are the help."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    # A click paragraph that begins with \b keeps its line breaks.
    epilog = "\b\nSettings:\n\n" + _keep_lines(describe(settings)) if settings else None
    app.command(epilog=epilog)(_refusing(job))
    app()


def _refusing(job: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(job)
    def command(*args: Any, **kwargs: Any) -> None:
        try:
            code = job(*args, **kwargs)
        except LonghaulError as error:
            print(f"refused: {error}", file=sys.stderr)
            raise typer.Exit(exits.REFUSED) from error
        raise typer.Exit(code or exits.SUCCESS)

    return command


def _keep_lines(text: str) -> str:
    return "\n\n".join("\b\n" + paragraph for paragraph in text.split("\n\n"))
