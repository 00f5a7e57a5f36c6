"""The dashboard and the alert rules ask for figures that there are, and the manifests carry the same rules."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.driver.metrics import METRICS, PREFIX
from tests.prometheus import program

ROOT = Path(__file__).parents[2]
OBSERVABILITY = ROOT / "infra" / "observability"
ALERTS = OBSERVABILITY / "alerts.yaml"
DASHBOARD = json.loads((OBSERVABILITY / "dashboard.json").read_text(encoding="utf-8"))
EXPORTED = {f"ray_{PREFIX}{metric.name}": metric for metric in METRICS}


def queries() -> dict[str, str]:
    """Of the dashboard, by panel and legend."""
    return {
        f"{panel['title']}: {target['legendFormat']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    }


def alerts() -> dict[str, str]:
    """Expressions of the rules, by their names."""
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


@pytest.mark.parametrize("expression", [*queries().values(), *alerts().values()])
def test_figures_that_are_asked_for_exist(expression):
    assert set(re.findall(r"ray_longhaul_\w+", expression)) <= set(EXPORTED)


def test_every_figure_is_shown_or_watched():
    asked = {
        name for text in (*queries().values(), *alerts().values()) for name in re.findall(r"ray_longhaul_\w+", text)
    }
    # Passes beside tokens say how full a pass is; the driver's heartbeat is for rules of one's own.
    assert set(EXPORTED) - asked == {"ray_longhaul_passes_total", "ray_longhaul_heartbeat_timestamp_seconds"}


def test_no_label_has_an_id():
    assert {metric.label for metric in METRICS} == {None, "outcome", "error_class", "kind", "currency"}
    assert all(metric.name.endswith("_total") == (metric.kind == "counter") for metric in METRICS)


def test_panels_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        here = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not here & taken and at["x"] + at["w"] <= 24
        taken |= here


def test_promtool_takes_the_rules_and_not_a_broken_copy(tmp_path):
    def checked(rules: Path) -> int:
        return subprocess.run(
            [program("promtool"), "check", "rules", rules], capture_output=True, check=False
        ).returncode

    assert checked(ALERTS) == 0
    broken = tmp_path / "alerts.yaml"
    broken.write_text(ALERTS.read_text(encoding="utf-8").replace("unless on (", "unless ("), encoding="utf-8")
    assert checked(broken) != 0


def test_the_operators_rules_are_the_same():
    shipped = yaml.safe_load((ROOT / "infra/kubernetes/monitoring/rules.yaml").read_text(encoding="utf-8"))
    assert shipped["spec"] == yaml.safe_load(ALERTS.read_text(encoding="utf-8"))


def test_the_page_lists_every_figure_and_every_rule():
    page = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    for metric in METRICS:
        assert f"`{metric.name}" in page
    for name in alerts():
        assert f"`{name}`" in page
