"""The message of a deviation: each figure once a month."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from apex_airflow import callbacks

from apex_tasks.performance.benchmarks import Metric
from apex_tasks.performance.deviation import BenchmarkComparison, DeviationVerdict
from apex_tasks.performance.report import PerformanceReport
from apex_tasks.store import Store
from tests.support.callback_contexts import BEGAN, headlines, run_context, use
from tests.support.message_servers import MessageServers


def judged_context(home: Path, name: str, *deviating: str) -> dict[str, Any]:
    """As the judging task leaves it."""
    reference = {"name": name, "content_hash": "0", "deviating": list(deviating), "cached": False}
    ti = SimpleNamespace(
        dag_id="apex_performance",
        run_id="scheduled__1",
        task_id="judge_performance",
        xcom_pull=lambda task_ids: reference,
    )
    return {"ti": ti, **run_context("success")}


def a_judgement(home: Path, portfolio: str, *deviating: str) -> str:
    """Store a judgement in which these metrics deviate; its name."""
    report = PerformanceReport(
        synthetic=False,
        portfolio=portfolio,
        first_marked=None,
        last_marked=None,
        sessions=0,
        last_session=BEGAN.date(),
        performance=None,
        intervals={},
        comparisons=tuple(
            BenchmarkComparison(
                metric=Metric(metric),
                measure=metric,
                live=2.0,
                benchmark=1.0,
                deviation=1.0,
                better=True,
                verdict=DeviationVerdict.DEVIATES,
            )
            for metric in deviating
        ),
        turnovers=(),
        mean_turnover=None,
        checks=(),
        benchmarks_of="",
        backtest_period="",
        ignored_benchmarks=(),
        ledger="",
        warnings=(),
    )
    name = "-".join(("judgement", portfolio[:10], *deviating))
    Store(home).write("performance", name, files={"performance.json": report.model_dump_json().encode()})
    return name


def notify_judged(home: Path, portfolio: str, *deviating: str) -> None:
    name = a_judgement(home, portfolio, *deviating)
    callbacks.notify_deviation(judged_context(home, name, *deviating))


def test_a_deviation_is_sent_once_per_figure_and_month(servers: MessageServers, tmp_path: Path) -> None:
    notify_judged(tmp_path, "2025-10-01/v1")
    assert headlines(servers) == []
    notify_judged(tmp_path, "2025-10-01/v1", "sharpe_ratio")
    notify_judged(tmp_path, "2025-10-01/v1", "sharpe_ratio")
    assert len(headlines(servers)) == 1
    notify_judged(tmp_path, "2025-10-01/v1", "sharpe_ratio", "win_rate")  # a new one, sent with the old
    notify_judged(tmp_path, "2025-10-01/v1", "win_rate")
    notify_judged(tmp_path, "2025-10-01/v2", "sharpe_ratio")
    sent = headlines(servers)
    assert len(sent) == 2
    assert "sharpe_ratio" in sent[1]
    assert "win_rate" in sent[1]
    notify_judged(tmp_path, "2025-11-04/v1", "sharpe_ratio")  # a new month starts over
    assert len(headlines(servers)) == 3


def test_a_deviation_that_could_not_be_sent_is_sent_the_next_day(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with MessageServers() as listening:
        environment = {**listening.environment, "APEX_HOME": str(tmp_path)}
    use(monkeypatch, environment)  # nobody listens there any more
    notify_judged(tmp_path, "2025-10-01/v1", "sharpe_ratio", "win_rate")
    with MessageServers() as listening:
        use(monkeypatch, listening.environment)
        notify_judged(tmp_path, "2025-10-01/v1", "sharpe_ratio", "win_rate")
        notify_judged(tmp_path, "2025-10-01/v1", "sharpe_ratio", "win_rate")
        assert len(headlines(listening)) == 1
