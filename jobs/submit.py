"""`python -m jobs.submit CONFIG.yaml [key=value ...]`: run `jobs.summarize` on a Ray cluster, from any folder."""

import json
import re
import shlex
import sys
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer
import yaml

from configs.errors import ConfigError
from configs.loader import load
from configs.prices import Catalog
from configs.settings import SummarizeConfig
from jobs import command, exits
from pipeline.cluster import package, submission
from pipeline.cluster.submitted import Cluster, Job, runtime_env

SETTINGS, PRICES = "settings.yaml", "prices.yaml"
"""Beside the code that goes with the job."""
ENTRYPOINT = f"exec python -m jobs.summarize {SETTINGS}"
IDENTITY = {"input", "output", "model", "prompts", "preamble", "sections"}
"""Settings that make a run another one; the others say how it is run."""
NAME_CHARS = 40

Address = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Of Ray's dashboard; otherwise RAY_API_SERVER_ADDRESS, RAY_ADDRESS, this machine."
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the log, and exit as the job exits. Ctrl-C stops the job.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be submitted, and ask no cluster.")]


def submit(
    config_path: command.ConfigPath,
    overrides: command.Overrides = None,
    address: Address = None,
    wait: Wait = False,
    dry_run: DryRun = False,
) -> int:
    """Run jobs.summarize on a Ray cluster: this project's code and the settings go with the job.

    A run that is already under way there is not started again: the command names it, and follows it with --wait. With
    --wait, exit codes are those of jobs.summarize, and Ctrl-C makes the job save and commit (130); a second Ctrl-C
    leaves it to that. Otherwise 0 once the job is submitted. 2 where settings or the cluster refuse it. A cluster
    with a token: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH.
    """
    config = load(SummarizeConfig, config_path, overrides or [])
    _refuse_what_stays_here(config)
    name = _name(config, config_path)
    metadata = {"longhaul_config": config_path.name, "longhaul_output": config.output.uri}
    with package.packed(_files(config)) as folder:
        if dry_run:
            print(_described(name, folder, metadata))
            return exits.SUCCESS
        job, is_new = Cluster(address).submit_once(name, folder, ENTRYPOINT, metadata)
    print(f"{'submitted' if is_new else 'already under way'}: {job.submission_id}", flush=True)
    if wait:
        return _wait(job)
    again = shlex.join(["python", "-m", "jobs.submit", str(config_path), *(overrides or []), "--wait"])
    print(f"  follow it: {again}\n  how it stands: {shlex.join(['python', '-m', 'jobs.status', config.output.uri])}")
    return exits.SUCCESS


def _refuse_what_stays_here(config: SummarizeConfig) -> None:
    """Raises ConfigError over paths that mean something in this folder alone."""
    submission.refuse_relative("output.uri", config.output.uri, is_going=True)
    for source in config.input.sources:
        submission.refuse_relative("input.sources", source, is_going=True)
    for field in ("uri", "tokenizer"):
        named = getattr(config.model, field)
        # Otherwise it is `default` or an id on the hub.
        if named is not None and Path(named).is_dir():
            submission.refuse_relative(f"model.{field}", named, is_going=True)


def _files(config: SummarizeConfig) -> dict[str, str]:
    """The settings with all overrides, and the catalog that they name."""
    given = config.model_dump(mode="json", exclude_unset=True)
    files = {}
    if config.price.catalog is not None and "://" not in config.price.catalog:
        Catalog.load(config.price.catalog)
        files[PRICES] = Path(config.price.catalog).expanduser().read_text(encoding="utf-8")
        given["price"]["catalog"] = PRICES
    files[SETTINGS] = yaml.safe_dump(given, sort_keys=False, allow_unicode=True)
    return files


def _name(config: SummarizeConfig, config_path: Path) -> str:
    """The same for the same run."""
    identity = config.model_dump(mode="json", include=IDENTITY) | {"run": config.run.id}
    digest = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    title = re.sub(r"[^A-Za-z0-9_.-]+", "-", config.run.id or config_path.stem)[:NAME_CHARS]
    return f"longhaul-{title}-{digest}"


def _described(name: str, folder: Path, metadata: dict[str, str]) -> str:
    sizes = package.sizes(folder)
    about = {
        "submission_id": f"{name}-N, where N counts its submissions",
        "entrypoint": ENTRYPOINT,
        "metadata": metadata,
        "env_vars": runtime_env(folder)["env_vars"],
        "working_dir": {"files": len(sizes), "bytes": sum(sizes.values())},
        "settings": yaml.safe_load((folder / SETTINGS).read_text(encoding="utf-8")),
    }
    return yaml.safe_dump(about, sort_keys=False, allow_unicode=True).rstrip()


def _wait(job: Job) -> int:
    """Until it is over. Ctrl-C stops it; a second one raises KeyboardInterrupt."""
    try:
        job.follow(_show)
    except KeyboardInterrupt:
        print(
            f"\nstopping {job.submission_id}: documents in progress are being saved; interrupt again not to wait",
            file=sys.stderr,
        )
        job.stop()
        job.follow(_show)
    status, code, message = job.ended()
    print(f"{job.submission_id}: {status}" + (f", exit code {code}" if code is not None else ""))
    if status == "STOPPED":
        return exits.INTERRUPTED
    if status != "SUCCEEDED" and code is None:
        raise ConfigError(f"Ray did not start {job.submission_id}, or lost it: {message}")
    return code or exits.SUCCESS


def _show(text: str) -> None:
    print(text, end="", flush=True)


if __name__ == "__main__":
    command.run(submit, SummarizeConfig)
