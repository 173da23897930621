"""The command line from outside: exit codes, what is on stdout, and one message for every bad input."""

from __future__ import annotations

import datetime as dt
import getpass
import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from apex_tasks import cli
from apex_tasks.bundle import read_bundle
from apex_tasks.cli import commands
from apex_tasks.cli.options import user_name
from apex_tasks.settings import load_settings
from apex_tasks.store import Store
from tests.support import bundle_factory
from tests.support.console import Apex, refusal
from tests.support.paths import ROOT
from tests.support.small_market import (
    AS_OF,
    JULY,
    SmallMarket,
    portfolio,
    published_bytes,
)

COMMANDS = (
    "demo-data",
    "demo-bundle",
    "validate-bundle",
    "features",
    "score",
    "run",
    "serve",
    "smoke-test",
    "calendar",
    "audit",
    "performance",
)


# --- the entry and its help ---------------------------------------------------------------------------------


def test_the_console_script_is_this_main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"]["apex"] == "apex_tasks.cli:main"
    (entry,) = entry_points(group="console_scripts", name="apex")
    assert entry.load() is cli.main


def test_help_lists_all_commands_and_loads_nothing_heavy() -> None:
    script = (
        "import sys; from apex_tasks.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit as ended: assert ended.code == 0\n"
        "heavy = {'torch', 'pandas', 'pyarrow', 'numpy', 'matplotlib', 'airflow', 'fastapi', 'uvicorn'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert f" {command} " in done.stdout


def test_every_command_has_help(apex: Apex) -> None:
    for command in COMMANDS:
        code, said, _ = apex(command, "--help")
        assert code == 0
        assert "Usage: apex" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("run",),
        ("run", "--date", "yesterday"),
        ("run", "--date", "2025-07-01", "--normalization", "none"),
        ("run", "--date", "2025-07-01", "--top-k", "many"),
        ("score", "--as-of", "2025-06-30"),
        ("demo-data",),
        ("run", "--date", "2025-07-01", "--no-such-option"),
        ("run", "--date", "2025-07-01", "--approve", ": for no one"),
        ("run", "--date", "2025-07-01", "--approve", "Ada", "--dry-run"),
    ],
)
def test_wrong_use_exits_with_2(apex: Apex, arguments: tuple[str, ...]) -> None:
    code, said, error = apex(*arguments)
    assert code == 2
    assert "Traceback" not in error
    assert said == ""


# --- run ----------------------------------------------------------------------------------------------------


def test_a_run_publishes_and_says_what(apex: Apex, tmp_path: Path) -> None:
    code, said, log = apex("run", "--date", "2025-07-01", "--cold-start")
    assert code == 0, log
    for part in ("2025-07-01", "2025-06-30", "published", "50.00%", "10,000,000 JPY", "Starts from", "bps"):
        assert part in said
    best = portfolio(tmp_path / "home", JULY).read_bytes("portfolio.csv").decode().splitlines()[1:6]
    for row in best:
        assert row.split(",")[0] in said
    assert "{" not in said
    assert "Portfolio 2025-07-01/v1 published" in log


def test_overrides_are_shown_with_who_runs(apex: Apex, tmp_path: Path) -> None:
    code, said, log = apex("run", "--date", "2025-07-01", "--cold-start", "--top-k", "20")
    assert code == 0, log
    assert "top_k 20 instead of 35" in said
    document = portfolio(tmp_path / "home", JULY).read_json("run.json")
    assert document["triggered_by"] == f"{user_name()} by apex run"
    code, said, _ = apex("run", "--date", "2025-07-01", "--cold-start", "--top-k", "20", "--json")
    assert code == 0
    month = json.loads(said)
    assert month["overrides"] == ["top_k 20 instead of 35"]
    assert month["triggered_by"] == document["triggered_by"]


@pytest.mark.parametrize("error", [KeyError("uid not found: 4711"), OSError("no username set")])
def test_a_user_without_a_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def nobody() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert user_name() == f"user {os.getuid()}"


def test_what_is_approved_is_the_draft_that_was_read_also_with_overrides(
    apex: Apex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second command finds the draft of the first: nothing in it depends on when it ran."""
    month = ("run", "--date", "2025-07-01", "--cold-start", "--top-k", "20")
    monkeypatch.setenv("APEX_APPROVAL", "true")
    code, _, log = apex(*month)
    assert code == 3, log
    (draft,) = (tmp_path / "home" / "drafts").iterdir()
    code, _, log = apex(*month, "--approve", "Ada: read")
    assert code == 0, log
    assert [found.name for found in (tmp_path / "home" / "drafts").iterdir()] == [draft.name]


def test_a_locked_option_is_refused(apex: Apex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APEX_LOCKED", "policy, top_k")
    code, _, log = apex("run", "--date", "2025-07-01", "--cold-start", "--top-k", "20")
    assert code == 3
    assert "locked for runs: top_k: expected=top_k 35, received=top_k 20" in log


def test_a_book_between_the_months_is_published_with_its_reason(apex: Apex, tmp_path: Path) -> None:
    code, _, log = apex("run", "--date", "2025-07-01", "--cold-start")
    assert code == 0, log
    code, said, log = apex("run", "--date", "2025-07-16", "--off-cycle", "index change")
    assert code == 0, log
    assert "index change" in said
    assert portfolio(tmp_path / "home", dt.date(2025, 7, 16)).details["off_cycle"] == "index change"


def test_json_is_all_that_stdout_holds(apex: Apex, tmp_path: Path) -> None:
    code, said, _ = apex("run", "--date", "2025-07-01", "--cold-start", "--json")
    assert code == 0
    month = json.loads(said)
    assert month.keys() == {
        "rebalance_date",
        "as_of",
        "verdict",
        "portfolio",
        "folder",
        "parent",
        "off_cycle",
        "overrides",
        "triggered_by",
        "positions",
        "turnover",
        "cost_jpy",
        "cost_bps",
        "portfolio_value_jpy",
        "alerts",
        "warnings",
        "top",
    }
    published = portfolio(tmp_path / "home", JULY)
    metrics = published.read_json("run.json")["metrics"]
    assert month["portfolio"] == "2025-07-01/v1"
    assert month["folder"] == str(tmp_path / "home" / "portfolio" / "2025-07-01" / "v1")
    assert month["verdict"] == "published"
    for name in ("positions", "turnover", "cost_jpy", "portfolio_value_jpy"):
        assert month[name] == metrics[name]
    table = pd.read_csv(Path(month["folder"]) / "portfolio.csv", dtype={"code": str, "sector": str}).head(5)
    assert [name["code"] for name in month["top"]] == table["code"].tolist()
    assert [name["rank"] for name in month["top"]] == [1, 2, 3, 4, 5]
    assert [name["weight"] for name in month["top"]] == table["weight"].tolist()

    code, said, _ = apex("run", "--date", "2025-07-01", "--cold-start", "--json")
    assert code == 0
    assert json.loads(said) == {**month, "verdict": "was published already, nothing changed"}


def test_a_dry_run_leaves_nothing_published(apex: Apex, tmp_path: Path) -> None:
    code, said, _ = apex("run", "--date", "2025-07-01", "--cold-start", "--dry-run", "--json")
    assert code == 0
    month = json.loads(said)
    assert month["verdict"] == "dry run, nothing published"
    assert month["portfolio"] is month["folder"] is None
    assert published_bytes(tmp_path / "home") == {}
    code, said, _ = apex("run", "--date", "2025-07-01", "--cold-start", "--dry-run")
    assert code == 0
    assert "dry run, nothing published" in said


def test_a_different_result_is_refused_and_a_reason_publishes_it(apex: Apex) -> None:
    assert apex("run", "--date", "2025-07-01", "--cold-start")[0] == 0
    changed = ("run", "--date", "2025-07-01", "--cold-start", "--top-k", "36", "--json")
    message = refusal(apex(*changed))
    assert "portfolio.csv, orders.csv, book.json" in message
    code, said, _ = apex(*changed, "--republish-reason", "one more")
    assert code == 0
    assert json.loads(said)["portfolio"] == "2025-07-01/v2"
    code, said, _ = apex("audit", "verify", "--json")
    assert (code, json.loads(said)) == (0, {"records": 2, "problems": []})


def test_a_broken_threshold_exits_with_4(
    apex: Apex, market: SmallMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = market.values("Close")
    first = sorted(set(market.codes))[:70]
    close[(market.dates == AS_OF[JULY]) & np.isin(market.codes, first)] = np.nan
    dataset = market.changed(tmp_path / "unpriced.parquet", Close=close)
    monkeypatch.setenv("APEX_JUDGEMENT__WARN_ONLY", "prices_missing")
    message = refusal(apex("run", "--date", "2025-07-01", "--cold-start", "--dataset", dataset, "--json"), 4)
    assert "apex_selected_count = 50" in message
    assert published_bytes(tmp_path / "home") == {}


def test_a_bug_exits_with_1_and_shows_itself(apex: Apex, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(commands, "load_settings", broken)
    monkeypatch.setattr(sys, "argv", ["apex", "audit", "verify"])
    with pytest.raises(ZeroDivisionError):  # the interpreter prints the traceback and exits with 1
        cli.main()


# --- the other commands -------------------------------------------------------------------------------------


def scores(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path)


def test_score_writes_the_published_scores(apex: Apex, tmp_path: Path, chain: Path) -> None:
    target = tmp_path / "deep" / "scores.parquet"
    code, said, _ = apex("score", "--as-of", "2025-06-30", "--out", target, "--json")
    assert code == 0
    result = json.loads(said)
    assert (result["scores"], result["as_of"], result["stocks"]) == (str(target), "2025-06-30", 120)
    assert target.read_bytes() == portfolio(chain, JULY).read_bytes("scores.parquet")
    table = scores(target)
    assert list(table.columns) == ["Code", "Score", "Rank"]
    assert table["Score"].dtype == np.float32
    assert table["Rank"].tolist() == list(range(1, 121))
    assert table["Score"].is_monotonic_decreasing
    assert result["best"] == table["Code"].head(5).tolist()


def test_scores_that_cannot_be_written_are_refused(apex: Apex, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for target in (tmp_path / "file" / "scores.parquet", tmp_path):
        assert "scores cannot be written" in refusal(apex("score", "--as-of", "2025-06-30", "--out", target))
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "no scratch file is left"


@pytest.mark.parametrize("horizon", [1, 5, 10])
def test_each_horizon_has_its_own_scores(apex: Apex, tmp_path: Path, horizon: int) -> None:
    for name, wanted in {"default": 20, "other": horizon}.items():
        assert apex("score", "--as-of", "2025-06-30", "--horizon", wanted, "--out", tmp_path / name)[0] == 0
    one, other = (scores(tmp_path / name).set_index("Code")["Score"] for name in ("default", "other"))
    assert not np.allclose(one, other.reindex(one.index))


def test_validate_bundle_prints_the_settings_or_json(apex: Apex, market: SmallMarket) -> None:
    code, said, _ = apex("validate-bundle")
    assert code == 0
    assert bundle_factory.INIT_LOG in said
    code, said, _ = apex("validate-bundle", "--json")
    assert code == 0
    resolved = json.loads(said)
    assert (resolved["patch_multiplier"], len(resolved["features"])) == (2, 89)
    assert resolved["bundle_sha256"] == read_bundle(market.bundle, load_settings().bundle_limits).sha256


def test_a_changed_bundle_is_refused(apex: Apex, tmp_path: Path) -> None:
    bundle = bundle_factory.Draft().folder(tmp_path / "bundle")
    config = bundle / bundle_factory.CONFIG
    config.write_bytes(config.read_bytes() + b"\n")
    message = refusal(apex("validate-bundle", "--bundle", bundle))
    assert bundle_factory.CONFIG in message


def test_the_calendar_lists_rebalances(apex: Apex) -> None:
    code, said, _ = apex("calendar", "--from", "2025-01-01", "--to", "2025-02-28", "--json")
    assert code == 0
    listed = json.loads(said)
    assert listed["rebalances"] == [
        {"rebalance": "2025-01-06", "as_of": "2024-12-30", "instant": "2025-01-06T09:00:00+09:00"},
        {"rebalance": "2025-02-03", "as_of": "2025-01-31", "instant": "2025-02-03T09:00:00+09:00"},
    ]
    assert listed["sessions"][0] == "2025-01-06"
    assert len(listed["sessions"]) == 19 + 18
    code, said, _ = apex("calendar", "--from", "2025-01-01", "--to", "2025-02-28")
    assert code == 0
    assert "2025-01-06 Mon" in said


def test_audit_verify_finds_a_change_and_exits_with_3(apex: Apex, tmp_path: Path) -> None:
    code, said, _ = apex("audit", "verify")
    assert (code, said.split(":")[0]) == (0, "0 records, everything as published")
    assert apex("run", "--date", "2025-07-01", "--cold-start")[0] == 0
    assert apex("audit", "verify")[0] == 0
    report = tmp_path / "home" / "portfolio" / "2025-07-01" / "v1" / "report.html"
    report.write_bytes(report.read_bytes() + b" ")
    assert "report.html was changed" in refusal(apex("audit", "verify"))
    outcome = apex("audit", "verify", "--json")
    refusal(outcome)
    assert json.loads(outcome[1]) == {
        "records": 1,
        "problems": ["portfolio 2025-07-01/v1: report.html was changed"],
    }


def test_approval_is_given_by_name_after_the_report_was_read(
    apex: Apex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("APEX_APPROVAL", "true")
    month = ("run", "--date", "2025-07-01", "--cold-start")
    message = refusal(apex(*month))
    assert "2025-07-01 awaits a person's approval" in message
    (report,) = (tmp_path / "home" / "drafts").glob("*/report.html")
    assert f"where={report}." in message
    assert apex(*month, "--dry-run")[0] == 0
    code, said, _ = apex(*month, "--approve", "Ada: read it twice", "--json")
    assert (code, json.loads(said)["verdict"]) == (0, "published")
    approval = portfolio(tmp_path / "home", JULY).read_json("execution.json")["approval"]
    assert (approval["by"]["name"], approval["note"]) == ("Ada", "read it twice")
    assert apex("audit", "verify")[0] == 0
    assert apex(*month)[0] == 0, "what is published already needs no approval"


def test_demo_data_and_features_make_a_dataset(apex: Apex, tmp_path: Path) -> None:
    code, said, _ = apex(
        "demo-data", tmp_path / "demo", "--stocks", 30, "--sessions", 60, "--end", "2025-10-10", "--json"
    )
    assert code == 0
    made = json.loads(said)
    assert (made["sessions"], made["last_session"], made["seed"]) == (60, "2025-10-10", 7)
    target = tmp_path / "features.parquet"
    code, said, _ = apex("features", "--prices", made["prices"], "--out", target, "--json")
    assert code == 0
    assert json.loads(said)["dataset"] == str(target)
    assert pq.read_metadata(target).num_rows == made["rows"]


def test_the_home_of_the_environment_is_used(apex: Apex, tmp_path: Path) -> None:
    assert apex("run", "--date", "2025-07-01", "--cold-start")[0] == 0
    assert Store(tmp_path / "home").names("portfolio") == [str(dt.date(2025, 7, 1))]
