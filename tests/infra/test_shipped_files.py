"""Images, scripts, the cluster of `ray up`, the policies: checked by tools that know them, and broken copies too."""

import ast
import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from configs.loader import load
from configs.settings import SummarizeConfig
from jobs import exits
from tests import documented

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
DOCKERFILES = sorted(path.relative_to(INFRA).as_posix() for path in (INFRA / "docker").glob("Dockerfile*"))
SCRIPTS = sorted(path.relative_to(INFRA).as_posix() for path in INFRA.rglob("*.sh"))
RAY_UP = INFRA / "ray-up/aws-spot.yaml"
POLICY = json.loads((INFRA / "iam/aws-policy.json").read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((INFRA / "docker/compose.yaml").read_text(encoding="utf-8"))


def lint(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    path = Path(sys.executable).with_name(program)
    if not path.exists():
        pytest.skip("requirements-infra.lock is not installed")
    command = [path, *arguments]
    return subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False)


def text_of(name: str) -> str:
    return (INFRA / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_dockerfile_is_valid_and_a_broken_copy_is_not(name, tmp_path):
    done = lint("hadolint", INFRA / name)
    assert done.returncode == 0, done.stdout
    broken = tmp_path / "Dockerfile"
    broken.write_text(text_of(name).replace("WORKDIR /srv", "WORKDIR srv"), encoding="utf-8")
    assert "DL3000" in lint("hadolint", broken).stdout


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_runs_as_nobody_and_holds_the_lock_and_the_code(name):
    lines = text_of(name).splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER 1000"]
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    assert copied == {
        *("configs", "models", "pipeline", "jobs"), *("pyproject.toml", "requirements.lock", "requirements-torch.lock")
    }  # fmt: skip
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    assert copied == let_in


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_valid_and_a_broken_copy_is_not(name, tmp_path):
    done = lint("shellcheck", INFRA / name)
    assert done.returncode == 0, done.stdout
    broken = tmp_path / "broken.sh"
    broken.write_text(text_of(name) + 'if [ "$1" = ]; then\n', encoding="utf-8")
    assert lint("shellcheck", broken).returncode


def cluster() -> dict:
    return yaml.safe_load(RAY_UP.read_text(encoding="utf-8"))


def test_the_cluster_of_ray_up_is_valid():
    validate_config(prepare_config(cluster()))


@pytest.mark.parametrize(
    ("key", "value"), [("min_worker", 0), ("max_workers", "two"), ("labels", ["spot"]), ("priority", "first")]
)
def test_a_broken_copy_of_it_is_not(key, value):
    broken = cluster()
    broken["available_node_types"]["h100"][key] = value
    with pytest.raises((jsonschema.ValidationError, ValueError, TypeError)):
        validate_config(prepare_config(broken))


def test_its_workers_are_on_spot_with_the_watcher_and_its_head_is_neither():
    config = cluster()
    types = copy.deepcopy(config["available_node_types"])
    head = types.pop(config["head_node_type"])
    assert "InstanceMarketOptions" not in head["node_config"]
    for each in types.values():
        assert each["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
        assert each["labels"]["ray.io/market-type"] == "spot"
    assert "preemption_watcher.py" in config["worker_start_ray_commands"][-1]
    assert all((ROOT / path).is_file() for path in config["file_mounts"].values())


def test_the_python_of_a_job_is_the_one_that_ray_runs_in():
    start = cluster()["head_start_ray_commands"][-1]
    assert start.startswith("PATH=/srv/longhaul/.venv/bin:$PATH ") and "/srv/longhaul/.venv/bin/ray start" in start


def test_token_authentication_is_on_wherever_it_starts_ray():
    starts = [line for key in ("head", "worker") for line in cluster()[f"{key}_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in line for line in starts if "ray stop" not in line)


UNITS = sorted(path.relative_to(INFRA).as_posix() for path in (INFRA / "schedules").iterdir())


def verified(path: Path) -> str:
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    # Of the machine's other units it says much; the programs and users of a node are not on this machine.
    return "\n".join(line for line in done.stderr.splitlines() if path.name in line and "is not executable" not in line)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_valid_and_a_broken_copy_is_not(name, tmp_path):
    for each in UNITS:
        (tmp_path / Path(each).name).write_text(text_of(each), encoding="utf-8")
    unit = tmp_path / Path(name).name
    assert verified(unit) == ""
    unit.write_text(text_of(name).replace("OnCalendar=", "OnCalender=").replace("KillMode=mixed", "KillMode=some"))
    assert verified(unit)


def test_a_schedule_starts_what_there_is_and_knows_the_exit_codes():
    service = text_of("schedules/longhaul.service")
    page = (ROOT / "docs/scheduling.md").read_text(encoding="utf-8")
    for block in documented.blocks(page, "python"):
        ast.parse(block)
    for text in (service, page):
        assert "-m jobs.submit /etc/longhaul/nightly.yaml run.deadline=06:00 --wait" in text
    codes = (exits.SUCCESS, exits.PARTIAL, exits.STOPPED)
    assert codes == (0, 3, 4)
    assert "SuccessExitStatus=3 4\n" in service
    assert "in 0|3|4)" in page and "WENT_WELL = (0, 3, 4)" in page


def actions(statement: dict) -> set[str]:
    given = statement["Action"]
    return {given} if isinstance(given, str) else {*given}


def test_the_policy_lets_a_run_change_its_output_alone():
    changes = {"s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}
    for each in POLICY["Statement"]:
        assert actions(each) <= {"s3:ListBucket", "s3:GetObject", *changes}
        assert "s3:ListBucket" not in actions(each) or each["Condition"]["StringLike"]["s3:prefix"]
        if actions(each) & changes:
            assert each["Resource"] == "arn:aws:s3:::FILL-IN-OUTPUT/summaries/*"


def test_the_command_of_compose_is_one_that_is_taken():
    words = COMPOSE["services"]["summarize"]["command"].split()
    assert words[:3] == ["python", "-m", "jobs.summarize"]
    load(SummarizeConfig, ROOT / words[3], words[4:])
    for service in COMPOSE["services"].values():
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"])
    secrets = re.findall(r"SECRET_ACCESS_KEY: (.*)", text_of("docker/compose.yaml"))
    assert all(each.startswith("${S3_SECRET_KEY:?") for each in secrets)


def test_the_ray_that_kuberay_is_told_of_is_that_of_the_image():
    told = yaml.safe_load(text_of("kubernetes/base/rayjob.yaml"))["spec"]["rayClusterSpec"]["rayVersion"]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert re.search(r"^ray(?:\[.*\])?==(\S+)", lock, re.MULTILINE)[1] == told
