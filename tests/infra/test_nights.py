"""Nights over a bucket that grows, by the command of the shipped CronJob: three of them, and one that overlaps.

In place of the cloud there are a store and a Ray of this machine, in place of the operator one that submits each new
RayJob's entrypoint. A head is not started for each night; containers' paths lie below the test's folder.
"""

import os
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from infra.kubernetes.base.start_night import FAILED
from jobs import exits
from pipeline.reports import report as reporting
from pipeline.reports.warehouse import Warehouse
from pipeline.storage import objects
from tests import kubernetes, ray_head
from tests.faulty_store import FaultyStore
from tests.manifests import KUBERNETES, ROOT, Object, Renderer, of_kind, pods, problems
from tests.ray_head import AUTHENTICATION, BIN, Head
from tests.waiting import PATIENCE_SECONDS, wait_for

pytestmark = pytest.mark.slow

LONG = sorted((text for text in topics.values() if 9000 < len(text) < 16_000), key=len)
SHORT = sorted((text for text in topics.values() if 1000 < len(text) < 2000), key=len)
PROMPTS = ("key_points", "summary")
TICK = int(time.time()) // 60
NAMES = [f"longhaul-nightly-{TICK - ago}" for ago in (120, 60, 0)]
"""Of the Jobs that the CronJob makes: each night is another minute."""
AGAIN = "again"
"""Another pod of the second night's Job."""
BESIDE = "by-hand"
"""A Job that a person made of the CronJob."""


class Operator(kubernetes.Kubernetes):
    """Submits a RayJob's entrypoint, and tells of it as KubeRay does."""

    def __init__(self, template: Object, tls: ssl.SSLContext, head: Head, paths: dict[str, Path]) -> None:
        super().__init__(template, tls)
        self._head, self._paths = head, paths

    def begin(self, name: str, rayjob: Object) -> None:
        entrypoint = mapped(rayjob["spec"]["entrypoint"], self._paths)
        self._head.ask("/api/jobs/", {"entrypoint": entrypoint, "submission_id": name})

    def status(self, name: str) -> Object:
        told = self._head.job(name)
        deployment = {"SUCCEEDED": "Complete", "FAILED": "Failed", "STOPPED": "Failed"}.get(told["status"], "Running")
        return {"jobDeploymentStatus": deployment, "jobStatus": told["status"], "message": told["message"]}


def mapped(text: str, paths: dict[str, Path]) -> str:
    """With paths of a container's as they are here."""
    for path, here in paths.items():
        text = text.replace(path, str(here))
    return text


@dataclass
class Nights:
    """What three nights left."""

    output: str
    sources: str
    codes: dict[str, int] = field(default_factory=dict)
    """How each pod ended."""
    logs: dict[str, str] = field(default_factory=dict)
    """Of those pods."""
    rayjobs: dict[str, Object] = field(default_factory=dict)
    """That were created."""
    verbs: set[str] = field(default_factory=set)
    """That doing so took."""


class Pods:
    """Of the CronJob: its container's command with its environment, and nothing of this process's."""

    def __init__(self, manifests: list[Object], paths: dict[str, Path], port: int, scratch: Path) -> None:
        (container,) = next(spec for name, spec in pods(manifests) if name == "nightly")["containers"]
        self._command = [mapped(each, paths) for each in container["command"]]
        self._shipped = container["env"]
        self._given = {"PATH": f"{BIN}:/usr/bin:/bin"}
        self._given |= {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT_HTTPS": str(port)}
        self._scratch = scratch
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, of: str | None = None) -> None:
        """A pod, of the Job with its name unless told otherwise."""
        fields = {
            "metadata.namespace": kubernetes.NAMESPACE,
            "metadata.labels['batch.kubernetes.io/job-name']": of or name,
        }
        env = self._given | {
            each["name"]: each["value"] if "value" in each else fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
            for each in self._shipped
        }
        with (self._scratch / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                self._command, env=env, stdout=log, stderr=subprocess.STDOUT, cwd=self._scratch
            )

    def is_running(self, name: str) -> bool:
        return self._running[name].poll() is None

    def log(self, name: str) -> str:
        return (self._scratch / f"{name}.log").read_text()

    def wait(self, name: str) -> int:
        """For its exit code."""
        return self._running[name].wait(PATIENCE_SECONDS)

    def __enter__(self) -> "Pods":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def manifests(tmp_path_factory) -> list[Object]:
    return Renderer(tmp_path_factory.mktemp("kubectl"))(KUBERNETES / "base")


@pytest.fixture(scope="module")
def store(s3) -> Iterator[FaultyStore]:
    """The way of the nights to the store, on which a document can be held up."""
    with FaultyStore(os.environ["AWS_ENDPOINT_URL_S3"]) as on_the_way:
        yield on_the_way


@pytest.fixture(scope="module")
def head(manifests, store, tmp_path_factory) -> Iterator[Head]:
    """With what the container of the RayJob's head has, the token that its secret holds and the keys of a store."""
    spec = next(spec for name, spec in pods(manifests) if name == "head")
    shipped = {each["name"]: each.get("value", "node-1") for each in spec["containers"][0]["env"]}
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    home = {"HOME": str(tmp_path_factory.mktemp("home")), "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
    given = {"PATH": f"{BIN}:/usr/bin:/bin", **home, **AUTHENTICATION, **aws, "AWS_ENDPOINT_URL_S3": store.url}
    with ray_head.head(shipped | given, Path("/tmp") / f"longhaul-nights-{os.getpid()}", num_cpus=3) as started:
        yield started


def publish(sources: str, name: str, text: str) -> None:
    objects.publish(f"{sources}{name}", text.encode())


@pytest.fixture(scope="module")
def nights(s3, manifests, store, head, tmp_path_factory) -> Nights:
    scratch, bucket = tmp_path_factory.mktemp("nights"), s3.new_bucket()
    result = Nights(f"{bucket}/summaries", f"{bucket}/documents/")
    paths = {
        "/etc/longhaul": scratch / "etc",
        "/opt/start": scratch / "start",
        "/srv/longhaul": ROOT,
        "/var/run/secrets/kubernetes.io/serviceaccount": scratch / "account",
    }
    mount(manifests, paths, result)
    (template,) = of_kind(manifests, "RayJob")
    operator = Operator(template, server_side(scratch / "account"), head, paths)
    with operator.serving(), Pods(manifests, paths, operator.server_port, scratch) as started:
        each_night(started, store, result)
    result.rayjobs = {name: each for name, each in operator.rayjobs.items() if each is not template}
    result.verbs = operator.verbs
    return result


def mount(manifests: list[Object], paths: dict[str, Path], result: Nights) -> None:
    """The config maps as volumes, the settings with what each user fills in."""
    for path in (path for at, path in paths.items() if at != "/srv/longhaul"):
        path.mkdir()
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(manifests, "ConfigMap")}
    for name, text in maps["longhaul-config"].items():
        (paths["/etc/longhaul"] / name).write_text(mapped(text, paths))
    settings = paths["/etc/longhaul"] / "nightly.yaml"
    config = yaml.safe_load(settings.read_text())
    config["input"]["sources"] = [result.sources]
    config["output"]["uri"] = result.output
    config["model"]["device"] = "cpu"
    config["engine"]["actors"] = 1
    # A state of so small a model costs more to keep than its document costs to read.
    config["states"] = {"storage_gib_month": 0}
    settings.write_text(yaml.safe_dump(config))
    (script,) = maps["longhaul-start"].items()
    # It looks every half minute.
    assert "\nPOLL_SECONDS = 30\n" in script[1]
    text = mapped(script[1], paths).replace("\nPOLL_SECONDS = 30\n", "\nPOLL_SECONDS = 1\n")
    (paths["/opt/start"] / script[0]).write_text(text)


def server_side(account: Path) -> ssl.SSLContext:
    """For a server that an account's `ca.crt` vouches for; its token lies there too."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (account / "token").write_text(kubernetes.TOKEN)
    (account / "ca.crt").write_bytes(certificate.public_bytes(pem))
    private = account.parent / "key.pem"
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(account / "ca.crt", private)
    return context


def each_night(pods: Pods, store: FaultyStore, result: Nights) -> None:
    sources, (first, second, third) = result.sources, NAMES

    def night(name: str, between: Callable[[], None] = lambda: None) -> None:
        pods.start(name)
        between()
        result.codes[name] = pods.wait(name)
        result.logs[name] = pods.log(name)

    publish(sources, "grows.txt", LONG[0])
    publish(sources, "changes.txt", SHORT[0])
    publish(sources, "stays.txt", SHORT[1])
    night(first)

    publish(sources, "second.txt", SHORT[2])
    gate = store.hold("GET", "/documents/second.txt")

    def overlap() -> None:
        wait_for(lambda: gate.held or not pods.is_running(second), "it reads", lambda: pods.log(second))
        pods.start(AGAIN, of=second)
        night(BESIDE)
        wait_for(lambda: "is there already" in pods.log(AGAIN), "it finds the first", lambda: pods.log(AGAIN))
        assert pods.is_running(second) and pods.is_running(AGAIN)
        gate.opened.set()
        result.codes[AGAIN] = pods.wait(AGAIN)

    night(second, between=overlap)
    publish(sources, "grows.txt", LONG[0] + LONG[1])
    publish(sources, "changes.txt", SHORT[3])
    publish(sources, "third.txt", SHORT[4])
    night(third)


def test_each_night_goes_well_and_takes_what_is_new_grown_or_changed(nights):
    assert {name: nights.codes[name] for name in NAMES} == dict.fromkeys(NAMES, 0), nights.logs
    assert [documents for _, documents in runs(nights)] == [
        ["changes.txt", "grows.txt", "stays.txt"],
        ["second.txt"],
        ["changes.txt", "grows.txt", "third.txt"],
    ]


def runs(nights: Nights) -> list[tuple[str, list[str]]]:
    """In their order, with the documents that each summarized."""
    rows = Warehouse(nights.output).rows("""
        select run_id, list_sort(list(distinct document_id)) as documents
        from summaries group by run_id order by min(started_at)
    """)
    return [(row["run_id"], [each.removeprefix(nights.sources) for each in row["documents"]]) for row in rows]


def test_of_a_document_that_has_grown_only_the_end_is_read(nights):
    tables = Warehouse(nights.output)
    resumed = tables.rows(
        "select run_id, document_id, tokens_resumed from summaries where tokens_resumed > 0 and kind = 'answer'"
    )
    (third, _) = runs(nights)[-1]
    assert [(row["run_id"], row["document_id"]) for row in resumed] == [(third, f"{nights.sources}grows.txt")]
    (before,) = tables.rows(
        "select tokens_total as tokens from summaries where document_id = $id and run_id != $run and kind = 'answer'",
        id=f"{nights.sources}grows.txt", run=third,
    )  # fmt: skip
    # But for what an append can change.
    assert 0.9 * before["tokens"] < resumed[0]["tokens_resumed"] < before["tokens"]


def test_another_pod_of_a_night_waits_for_what_the_first_one_began(nights):
    second = NAMES[1]
    assert nights.codes[AGAIN] == 0
    assert sorted(nights.rayjobs) == sorted([*(f"{name}-1" for name in NAMES), f"{BESIDE}-1", f"{BESIDE}-2"])
    assert f"{second}-1: begun" in nights.logs[second]


def test_a_night_beside_another_is_refused_with_a_reason_and_seen_to_have_failed(nights):
    assert nights.codes[BESIDE] == FAILED
    log = nights.logs[BESIDE]
    assert log.count(f"exit code {exits.REFUSED}") == 2, log
    assert "is at work on this run; wait until it ends, stop it, or give another run.id" in log


def test_the_report_of_the_three_adds_up(nights):
    (account,) = reporting.report(Warehouse(nights.output)).accounts
    rows = Warehouse(nights.output).rows("select run_id, sum(cost) as cost from costs group by run_id")
    costs = {row["run_id"]: row["cost"] for row in rows}
    assert len(account.runs) == 3 and {each.run_id: each.cost for each in account.runs} == costs
    assert account.cost == sum(costs.values()) == sum(each.cost for each in account.nights) > 0
    assert [each.status for each in account.runs] == ["succeeded"] * 3
    assert [each.documents for each in account.runs] == [3, 1, 3] and account.documents == 7


def test_the_latest_answers_are_each_documents_newest(nights):
    (first, _), (second, _), (third, _) = runs(nights)
    newest = {"changes": third, "grows": third, "second": second, "stays": first, "third": third}
    rows = Warehouse(nights.output).rows("select document_id, prompt_id, run_id from latest order by all")
    assert [tuple(row.values()) for row in rows] == [
        (f"{nights.sources}{name}.txt", prompt, run) for name, run in newest.items() for prompt in PROMPTS
    ]


def test_the_account_may_do_what_that_takes_and_nothing_else(manifests, nights):
    (role,) = of_kind(manifests, "Role")
    assert [set(rule["verbs"]) for rule in role["rules"]] == [nights.verbs]


def test_each_rayjob_is_valid(nights):
    assert [problem for each in nights.rayjobs.values() for problem in problems(each)] == []
