"""Every manifest is valid, a broken copy of each is not, and together they say what infra/README.md says."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.loader import load
from configs.prices import Catalog
from configs.settings import SummarizeConfig
from tests.manifests import COMPONENTS, KUBERNETES, OVERLAYS, Object, Renderer, RenderError, of_kind, pods, problems

CLOUDS = [name for name in OVERLAYS if name != "base"]
NOTICE_SECONDS = {"aks": 30, "base": 30, "eks": 120, "gke": 15}
"""From the notice until a pod is killed; of GKE's 30 s a pod of ours has the first half."""
DRAIN = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"


@pytest.fixture(scope="module")
def render(tmp_path_factory) -> Renderer:
    return Renderer(tmp_path_factory.mktemp("kubectl"))


@pytest.fixture(scope="module")
def rendered(render) -> dict[str, list[Object]]:
    return {name: render(KUBERNETES / name) for name in OVERLAYS}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_object_of_an_overlay_is_valid(rendered, overlay):
    assert [problem for each in rendered[overlay] for problem in problems(each)] == []


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_object_is_valid_with_an_option(render, component):
    manifests = render.with_component("eks", component)
    assert [problem for each in manifests for problem in problems(each)] == []


def put(*path: Any, value: Any) -> Callable[[Object], None]:
    def change(manifest: Object) -> None:
        *parents, last = path
        for key in parents:
            manifest = manifest[key]
        manifest[last] = value

    return change


HEAD = ("spec", "rayClusterSpec", "headGroupSpec")
WORKER = ("spec", "rayClusterSpec", "workerGroupSpecs", 0)
BROKEN = [
    ("Namespace", put("spec", "finalisers", value=[])),
    ("ServiceAccount", put("automountServiceAccountToken", value="no")),
    ("Role", put("rules", 0, "verb", value=["get"])),
    ("RoleBinding", put("roleRef", "name", value=None)),
    ("ConfigMap", put("data", value=["nightly.yaml"])),
    ("PriorityClass", put("value", value="high")),
    ("NetworkPolicy", put("spec", "podSelectors", value={})),
    ("CronJob", put("spec", "concurrency", value="Forbid")),
    ("CronJob", put("spec", "jobTemplate", "spec", "activeDeadlineSeconds", value="5h")),
    ("RayJob", put("spec", "ttlSeconds", value=60)),
    ("RayJob", put("spec", "suspend", value="yes")),
    ("RayJob", put(*HEAD, "template", "spec", "containers", 0, "resource", value={})),
    ("RayJob", put(*WORKER, "maxReplicas", value="eight")),
    ("RayJob", put(*WORKER, "template", "spec", "tolerations", value={"key": "nvidia.com/gpu"})),
    ("RayCronJob", put("spec", "concurrencyPolicy", value="Forbid")),
    ("RayCronJob", put("spec", "jobTemplate", "rayClusterSpec", "authOptions", "mode", value="on")),
]


@pytest.mark.parametrize(("kind", "change"), BROKEN, ids=[f"{n}-{kind}" for n, (kind, _) in enumerate(BROKEN)])
def test_a_broken_copy_is_caught(render, kind, change):
    shipped = render.with_component("eks", "ray-cron-job") + render(KUBERNETES / "eks")
    manifest = copy.deepcopy(of_kind(shipped, kind)[0])
    assert problems(manifest) == []
    if kind == "Namespace":
        manifest["spec"] = {}
    change(manifest)
    assert problems(manifest)


def test_every_kind_has_a_broken_copy(render, rendered):
    shipped = {each["kind"] for each in [*rendered["base"], *render.with_component("eks", "ray-cron-job")]}
    assert {kind for kind, _ in BROKEN} == shipped


def test_a_patch_that_no_longer_fits_its_worker_group_is_refused(render, tmp_path):
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    base = tmp_path / "kubernetes/base/rayjob.yaml"
    base.write_text(base.read_text(encoding="utf-8").replace("groupName: h100", "groupName: b200"), encoding="utf-8")
    for overlay in CLOUDS:
        with pytest.raises(RenderError, match="groupName"):
            render(tmp_path / "kubernetes" / overlay)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_has_the_time_that_its_cloud_gives(rendered, overlay):
    groups = {name: spec for name, spec in pods(rendered[overlay]) if "100" in name or name == "l40s"}
    assert set(groups) == {"h100", "a100"} | ({"l40s"} if overlay in ("base", "eks") else set())
    for spec in groups.values():
        (drain,) = (int(each["value"]) for each in spec["containers"][0]["env"] if each["name"] == DRAIN)
        assert drain < spec["terminationGracePeriodSeconds"] <= NOTICE_SECONDS[overlay]


@pytest.mark.parametrize("overlay", CLOUDS)
def test_workers_are_on_spot_and_the_head_is_not(rendered, overlay):
    (job,) = of_kind(rendered[overlay], "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    head = cluster["headGroupSpec"]
    assert head["labels"]["ray.io/market-type"] == "on-demand"
    assert {"nodeSelector", "affinity"} & set(head["template"]["spec"])
    assert len({group["priority"] for group in cluster["workerGroupSpecs"]}) == len(cluster["workerGroupSpecs"])
    for group in cluster["workerGroupSpecs"]:
        spec = group["template"]["spec"]
        assert group["labels"]["ray.io/market-type"] == "spot"
        assert group["labels"]["longhaul/provider"] == head["labels"]["longhaul/provider"]
        assert any("spot" in f"{key}={value}" for key, value in spec["nodeSelector"].items())
        assert "nvidia.com/gpu" in {each["key"] for each in spec["tolerations"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_token_authentication_is_on_and_no_secret_is_in_a_manifest(rendered, overlay):
    assert of_kind(rendered[overlay], "Secret") == []
    (job,) = of_kind(rendered[overlay], "RayJob")
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token", "secretName": "longhaul-ray-token"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_run_as_nobody_with_accounts_and_config_maps_that_exist(rendered, overlay):
    accounts = {each["metadata"]["name"] for each in of_kind(rendered[overlay], "ServiceAccount")}
    maps = {each["metadata"]["name"] for each in of_kind(rendered[overlay], "ConfigMap")}
    for name, spec in pods(rendered[overlay]):
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec.get("serviceAccountName") in accounts or spec["automountServiceAccountToken"] is False, name
        assert {each["configMap"]["name"] for each in spec.get("volumes", [])} <= maps, name
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name


def test_the_night_may_create_and_read_rayjobs_and_nothing_else(rendered):
    (role,) = of_kind(rendered["base"], "Role")
    assert role["rules"] == [{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get"]}]
    assert of_kind(rendered["base"], "ClusterRole") == []


def test_a_second_night_does_not_begin_while_one_goes_on(rendered):
    (cron,) = of_kind(rendered["base"], "CronJob")
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    assert 0 < cron["spec"]["startingDeadlineSeconds"] <= 3600


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_run_in_the_config_map_is_one_that_is_taken(rendered, overlay, tmp_path):
    (data,) = (
        each["data"]
        for each in of_kind(rendered[overlay], "ConfigMap")
        if each["metadata"]["name"] == "longhaul-config"
    )
    for name, text in data.items():
        Path(tmp_path / name).write_text(text, encoding="utf-8")
    config = load(SummarizeConfig, tmp_path / "nightly.yaml", ["run.deadline=2026-11-27T06:00:00+00:00"])
    Catalog.model_validate(yaml.safe_load(data["prices.yaml"]))
    (job,) = of_kind(rendered[overlay], "RayJob")
    most = sum(group["maxReplicas"] for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"])
    assert config.model.device == "cuda"
    assert 1 <= config.engine.actors.min < config.engine.actors.max <= most


def test_the_option_takes_the_cronjob_out_and_the_same_cluster_in(render):
    manifests = render.with_component("eks", "ray-cron-job")
    (cron,), (template,) = of_kind(manifests, "RayCronJob"), of_kind(manifests, "RayJob")
    assert of_kind(manifests, "CronJob") == []
    assert cron["spec"]["jobTemplate"]["rayClusterSpec"] == template["spec"]["rayClusterSpec"]
    assert "suspend" not in cron["spec"]["jobTemplate"]
    assert "NIGHT_ENDS" not in cron["spec"]["jobTemplate"]["entrypoint"]
