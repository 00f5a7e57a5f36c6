"""What the jobs' command lines share: a config file, `key=value` overrides, errors of the user without a traceback."""

import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any

import typer

from configs.errors import LonghaulError
from configs.loader import Settings, SettingsField, fields
from jobs import exits

HELP_WIDTH = 100
CONTEXT = {"max_content_width": HELP_WIDTH, "help_option_names": ["-h", "--help"]}

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Settings; shipped ones are in configs/.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[key=value]...", help="Settings that replace those of the file.")
]
OutputUri = Annotated[str, typer.Argument(metavar="OUTPUT", help="Directory or s3:// prefix that runs wrote to.")]


def run(job: Callable[..., Any], settings: type[Settings] | None = None) -> None:
    """Make a command of `job` and run it; its docstring, and the fields of `settings`, are the help."""
    app = _app()
    app.command(epilog=_help(settings) if settings else None, context_settings=CONTEXT)(_with_exits(job))
    app()


def run_several(jobs: Mapping[str, Callable[..., Any]], about: str) -> None:
    """Make a command of several, each under its name, and run it; `about` and their docstrings are the help."""
    app = _app()
    app.callback(help=about, context_settings=CONTEXT)(lambda: None)
    for name, job in jobs.items():
        app.command(name, context_settings=CONTEXT)(_with_exits(job))
    app()


def _app() -> typer.Typer:
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _with_exits(job: Callable[..., Any]) -> Callable[..., Any]:
    """Exit with what `job` returns. Errors that refuse to start are printed as one message, others with a traceback."""

    @wraps(job)
    def command(*args: Any, **kwargs: Any) -> None:
        try:
            code = job(*args, **kwargs)
        except LonghaulError as error:
            print(f"refused: {error}", file=sys.stderr)
            raise typer.Exit(exits.REFUSED) from error
        except KeyboardInterrupt as error:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(exits.INTERRUPTED) from error
        raise typer.Exit(code or exits.SUCCESS)

    return command


def _help(settings: type[Settings]) -> str:
    # A click paragraph that begins with \b keeps its line breaks.
    return "\n\n".join(["Settings:", *("\b\n" + _paragraph(field) for field in fields(settings))])


def _paragraph(field: SettingsField) -> str:
    default = "required" if field.default is None else f"default {field.default}"
    return "\n".join([f"{field.name} ({field.type}, {default})", *_indented(field.doc)])


def _indented(text: str) -> list[str]:
    return wrap(text, HELP_WIDTH - 4, initial_indent="    ", subsequent_indent="    ")
