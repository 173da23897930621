"""Every alert leads to a heading of the runbook that exists, and every such heading says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from apex_tasks.settings import configs_folder, load_settings
from tests.support.headings import anchor, anchors
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
RUNBOOK = (DOCS / "runbook.md").read_text()
LINKS = {
    **{
        rule["alert"]: rule["annotations"]["runbook"]
        for group in yaml.safe_load((configs_folder() / "prometheus" / "rules.yml").read_text())["groups"]
        for rule in group["rules"]
    },
    **{threshold.metric: f"docs/runbook.md#{threshold.runbook}" for threshold in load_settings().thresholds},
}


def sections(text: str) -> dict[str, str]:
    """Text of each section of the third level by its fragment."""
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)[1:]
    return {anchor(head): re.split(r"^## ", body, flags=re.MULTILINE)[0] for head, body in _pairs(parts)}


def _pairs(parts: list[str]) -> list[tuple[str, str]]:
    return list(zip(parts[::2], parts[1::2], strict=True))


SECTIONS = sections(RUNBOOK)


def test_no_two_headings_share_a_fragment() -> None:
    fragments = anchors(RUNBOOK)
    assert len(set(fragments)) == len(fragments)


@pytest.mark.parametrize("name", LINKS)
def test_every_alert_leads_to_its_section(name: str) -> None:
    file, _, fragment = LINKS[name].partition("#")
    assert (DOCS.parent / file) == DOCS / "runbook.md"
    assert fragment in SECTIONS
    section = SECTIONS[fragment]
    assert f"`{name}`" in section, "the section names the alert, so that a search finds it"
    for part in ("**Symptom:**", "**Diagnosis:**", "**Fix:**"):
        assert section.count(part) == 1
    diagnosis = section.partition("**Diagnosis:**")[2].partition("**Fix:**")[0]
    assert re.search(r"`[^`]+`", diagnosis), "the diagnosis is a command or a value to look at"


def test_every_metric_and_command_of_the_runbook_exists(chain: Path) -> None:
    from apex_tasks.monitoring.alerts import INFERENCE_LATENCY
    from tests.support.small_market import OCTOBER, portfolio

    published = set(portfolio(chain, OCTOBER).read_json("run.json")["metrics"]) | {INFERENCE_LATENCY}
    text = RUNBOOK.partition("## Thresholds")[2].partition("## Alerts of Prometheus")[0]
    metrics = set(re.findall(r"`(apex_[a-z_]+|\w+_stocks|\w+_rows|\w+_candidates|pool_size)`", text))
    assert len(metrics) >= 7
    assert metrics <= published
    alerts = set(re.findall(r"`((?:Apex|Airflow)[A-Z]\w+)`", RUNBOOK))
    assert alerts == {name for name in LINKS if not name.startswith("apex_")}
