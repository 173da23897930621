"""The dashboard and the rules use only series that a run, Airflow or Prometheus itself yields."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from apex_tasks.monthly.run import run_month
from apex_tasks.performance.request import resolve_performance_request
from apex_tasks.performance.run import PerformanceRun, run_performance
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings, StatsdSettings, configs_folder
from apex_tasks.store import Store
from tests.support.small_market import (
    AUGUST,
    CALENDAR,
    JULY,
    LAST_SESSION,
    SmallMarket,
    month,
    small_settings,
)
from tests.support.statsd_exporter_double import Mapper, Series, StatsdExporterDouble

MAPPING = configs_folder() / "statsd" / "mapping.yaml"
DASHBOARD = json.loads((configs_folder() / "grafana" / "apex.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = [
    rule
    for group in yaml.safe_load((configs_folder() / "prometheus" / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
EXPRESSIONS = [
    *((panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]),
    *((rule["alert"], rule["expr"]) for rule in RULES),
]
KINDS = {"counter": "counter", "gauge": "gauge", "timer": "summary"}
OF_PROMETHEUS = {"up": {"job"}, "ALERTS": {"alertstate"}}
WORDS = {"by", "on", "and", "or", "unless", "group_right", "offset"}

Labels = dict[str, set[str]]


@pytest.fixture(scope="module")
def yielded(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> Labels:
    """Labels of every Prometheus metric that there is, by its name."""
    home = tmp_path_factory.mktemp("told")
    with StatsdExporterDouble(MAPPING) as exporter:
        _run_everything(market, home, exporter.statsd_port)
        exporter.drain()
        series = [*exporter.registry.values, *_of_airflow()]
    found: Labels = dict(OF_PROMETHEUS)
    for name, labels, kind in series:
        for suffix in ("_sum", "_count") if kind == "summary" else ("",):
            found.setdefault(name + suffix, {"job", "instance"}).update(label for label, _ in labels)
    return found


def _run_everything(market: SmallMarket, home: Path, port: int) -> None:
    settings = small_settings(home, statsd=StatsdSettings(host="127.0.0.1", port=port))
    for day in (JULY, JULY, AUGUST):
        run_month(month(market, home, day, settings, cold_start=True))
    with pytest.raises(Refusal):
        run_month(month(market, home, dt.date(2025, 9, 1), settings, dataset="nowhere"))
    broken = month(market, home, AUGUST, settings)
    run_performance(_performance_run(market, home, settings))
    with pytest.raises(ValidationError):
        broken.infer(broken.validate_bundle(), None)


def _performance_run(market: SmallMarket, home: Path, settings: ApexSettings) -> PerformanceRun:
    request = resolve_performance_request(
        {"dataset": str(market.dataset), "until": LAST_SESSION},
        moment=dt.datetime(2025, 10, 10, 9, 0, tzinfo=dt.UTC),
        settings=settings,
        calendar=CALENDAR,
    )
    return PerformanceRun(request, Store(home), CALENDAR, log=lambda _: None)


def _of_airflow() -> Iterator[Series]:
    """What the mapping makes of every name in the list of metrics that Airflow itself is shipped with."""
    (listed,) = (
        file
        for file in importlib.metadata.files("apache-airflow-core") or ()
        if str(file).startswith("airflow/_shared/") and file.name == "metrics_template.yaml"
    )
    mapper = Mapper.of_file(MAPPING)
    for metric in yaml.safe_load(listed.read_text())["metrics"]:
        for name in (metric["name"], metric["legacy_name"]):
            filled = "airflow." + re.sub(r"\{\w+\}", "x", name)
            if name != "-" and (series := mapper.series(filled, KINDS[metric["type"]])):
                yield series


def used(expression: str) -> Labels:
    """Metrics of an expression with the labels that it matches."""
    found: Labels = {}
    bare = re.sub(r"\b(by|on|group_right) *\([^)]*\)", "", expression)
    for name, matchers in re.findall(r"\b([a-zA-Z_]\w*)\b(?!\s*\()(?:\{([^}]*)\})?(?![^{]*\})", bare):
        if name not in WORDS and not re.fullmatch(r"\d.*", name):
            found.setdefault(name, set()).update(re.findall(r"(\w+) *(?:=~|!~|!=|=)", matchers))
    return found


def test_expressions_are_taken_apart_rightly() -> None:
    assert used(
        'min(a_b{x="1", y=~"z.+"}) < on () group_right () max by (s) (c{m="d"}) and time() - e < 86400'
    ) == {
        "a_b": {"x", "y"},
        "c": {"m"},
        "e": set(),
    }
    assert used("increase(a[15m]) > 0 or (a unless a offset 15m)") == {"a": set()}


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS, ids=[title for title, _ in EXPRESSIONS])
def test_every_expression_uses_what_there_is(title: str, expression: str, yielded: Labels) -> None:
    metrics = used(expression)
    assert metrics, "an expression without a metric shows nothing"
    for name, labels in metrics.items():
        assert name in yielded, f"nothing yields {name}"
        assert labels <= yielded[name]


def test_legends_name_labels_that_the_expression_keeps() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert re.search(rf"by \([^)]*\b{label}\b", target["expr"]), target["expr"]


def test_the_four_metrics_of_the_deployment_notes_have_their_exact_names(yielded: Labels) -> None:
    for name in (
        "apex_selected_count",
        "apex_effective_dim",
        "apex_inference_latency_ms",
        "apex_daily_cost_bps",
    ):
        assert name in yielded


def test_every_published_metric_is_on_the_dashboard(yielded: Labels) -> None:
    shown = {name for panel in PANELS for target in panel["targets"] for name in used(target["expr"])}
    assert {name for name in yielded if name.startswith("apex_")} - shown == {
        "apex_first_build",
        "apex_hysteresis",
        "apex_plan_timestamp_seconds",
        "apex_inference_timestamp_seconds",
    }


def test_the_dashboard_has_rows_for_the_run_the_book_and_the_live_book() -> None:
    assert [row["title"] for row in DASHBOARD["panels"] if row["type"] == "row"] == [
        "Run",
        "Book",
        "Live book",
    ]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in PANELS:
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells), "two panels overlap"
    assert max(x for x, _ in cells) < 24


def test_prometheus_parses_every_expression_of_the_dashboard(
    run_tool: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    rules: list[dict[str, Any]] = [
        {"record": f"panel:{number}", "expr": target["expr"]}
        for number, target in enumerate(target for panel in PANELS for target in panel["targets"])
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = run_tool("promtool", "check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout
