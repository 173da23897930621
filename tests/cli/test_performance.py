"""`apex performance`: exit codes, what it shows, and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apex_tasks import cli
from apex_tasks.cli.display import out
from apex_tasks.performance.checks.check import CheckName
from apex_tasks.performance.deviation import DeviationVerdict
from apex_tasks.performance.report import PerformanceReport
from tests.support.small_market import (
    LAST_SESSION,
    REBALANCES,
    SmallMarket,
    home_after,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def home(chain: Path, tmp_path: Path) -> Path:
    return home_after(chain, tmp_path / "home", *REBALANCES)


@pytest.fixture
def apex(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], market: SmallMarket
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("APEX_BUNDLE", str(market.bundle))
    monkeypatch.setenv("APEX_DATASET", str(market.dataset))
    monkeypatch.setattr(out, "width", 200)  # tables must not wrap the words that are looked for

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["apex", "performance", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def test_a_deviation_exits_with_4_and_shows_everything(apex: Callable[..., Any], home: Path) -> None:
    code, said, _ = apex("--store", home, "--until", LAST_SESSION)
    assert code == 4
    for words in ("Sharpe ratio", "deviates", "chance allows", "mean turnover", *CheckName):
        assert words in said


def test_json_is_the_report_and_nothing_else(
    apex: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APEX_HOME", str(home))
    monkeypatch.setenv("APEX_PERFORMANCE__MIN_SESSIONS", "100")
    code, said, log = apex("--json", "--until", LAST_SESSION)
    assert code == 0
    report = PerformanceReport.model_validate(json.loads(said))
    assert report.comparisons[0].verdict is DeviationVerdict.NOT_JUDGED
    assert "Ledger of 4 months and 70 sessions" in log


def test_nothing_published_is_a_refusal(apex: Callable[..., Any], tmp_path: Path) -> None:
    code, said, error = apex("--store", tmp_path)
    assert (code, said) == (3, "")
    assert error.startswith("REFUSED nothing is published")
