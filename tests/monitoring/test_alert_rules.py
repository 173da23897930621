"""Prometheus' rules and Alertmanager's routes, proven by their own tools."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from apex_tasks.monitoring.gauges import exposition, published_gauges
from apex_tasks.settings import configs_folder, load_settings
from apex_tasks.store import Store
from tests.support.small_market import CALENDAR, small_settings

PROMETHEUS = configs_folder() / "prometheus"
ALERTMANAGER = configs_folder() / "alertmanager" / "alertmanager.yml"
RULES = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
CASES = [
    case
    for test in yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
    for case in test["alert_rule_test"]
]

LINT_ONLY = 3
"""Exit code of promtool for readable text with remarks on style: units such as ms and bps are the names' own."""

RunTool = Callable[..., subprocess.CompletedProcess[str]]


def test_the_configuration_is_valid(run_tool: RunTool) -> None:
    done = run_tool("promtool", "check", "config", PROMETHEUS / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES)} rules found" in done.stdout


def test_every_rule_holds_its_unit_tests(run_tool: RunTool) -> None:
    done = run_tool("promtool", "test", "rules", "rules_test.yml", cwd=PROMETHEUS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_rule_is_shown_firing_and_not_firing(rule: dict[str, Any]) -> None:
    shown = {bool(case.get("exp_alerts")) for case in CASES if case["alertname"] == rule["alert"]}
    assert shown == {True, False}


@pytest.mark.slow
def test_the_unit_tests_can_fail(run_tool: RunTool, tmp_path: Path) -> None:
    """Rules that never fire, and rules that always do, are both found out."""
    rules = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())
    (tmp_path / "rules_test.yml").write_text((PROMETHEUS / "rules_test.yml").read_text())
    for expression in ("vector(0) > 1", "vector(1)"):
        for group in rules["groups"]:
            for rule in group["rules"]:
                rule["expr"] = expression
        (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
        done = run_tool("promtool", "test", "rules", "rules_test.yml", cwd=tmp_path)
        assert done.returncode == 1
        for rule in RULES:
            assert f"alertname: {rule['alert']}," in done.stdout + done.stderr


def test_the_thresholds_of_the_settings_all_have_a_rule() -> None:
    for threshold in load_settings().thresholds:
        wanted = f'apex_threshold{{job="apex-statsd", metric="{threshold.metric}"}}'
        (rule,) = (rule for rule in RULES if wanted in rule["expr"])
        comparison = threshold.comparison
        assert f" {comparison} on () group_right () max by (severity) ({wanted})" in " ".join(
            rule["expr"].split()
        )
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{threshold.runbook}"
        assert "labels" not in rule, "its severity comes from the settings"


def test_every_other_rule_has_a_severity() -> None:
    for rule in RULES:
        if "apex_threshold" not in rule["expr"]:
            assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}


def test_alertmanagers_configuration_is_valid(run_tool: RunTool) -> None:
    done = run_tool("amtool", "check-config", ALERTMANAGER)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("alertname=ApexSelectedCountLow", "severity=critical"), "slack-and-email"),
        (("alertname=ApexDailyCostHigh", "severity=warning"), "slack"),
        (("alertname=SomethingElse",), "slack"),
    ],
)
def test_alerts_are_routed_by_severity(run_tool: RunTool, labels: tuple[str, ...], receiver: str) -> None:
    done = run_tool("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == receiver


def test_receivers_are_what_their_names_say() -> None:
    document = yaml.safe_load(ALERTMANAGER.read_text())
    channels = {receiver["name"]: set(receiver) - {"name"} for receiver in document["receivers"]}
    assert channels == {"slack": {"slack_configs"}, "slack-and-email": {"slack_configs", "email_configs"}}
    named = {name for rule in document["inhibit_rules"] for key in rule for name in _alertnames(rule[key])}
    assert named <= {rule["alert"] for rule in RULES}


def _alertnames(matchers: list[str]) -> list[str]:
    return [name for matcher in matchers for name in matcher.split('"')[1].split("|")]


def test_no_secret_is_in_the_configuration() -> None:
    text = ALERTMANAGER.read_text()
    assert "smtp_auth_password_file:" in text
    assert "slack_api_url_file:" in text
    assert "smtp_auth_password:" not in text
    assert "api_url:" not in text


@pytest.mark.slow
def test_prometheus_reads_the_text_of_the_published_values(run_tool: RunTool, chain: Path) -> None:
    text = exposition(published_gauges(Store(chain), small_settings(chain), CALENDAR))
    done = run_tool("promtool", "check", "metrics", stdin=text)
    assert done.returncode in (0, LINT_ONLY), done.stderr
    assert run_tool("promtool", "check", "metrics", stdin=text[:-1]).returncode == 1, "half a line"
