"""The command line from outside: exit codes, what is on stdout, and one message for every bad input."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apex_tasks import cli
from apex_tasks.bundle import read_bundle
from apex_tasks.cli import commands
from apex_tasks.settings import load_settings
from apex_tasks.store import Store
from tests.support import bundle_factory
from tests.support.paths import ROOT
from tests.support.small_market import (
    AS_OF,
    JULY,
    SmallMarket,
    portfolio,
    published_bytes,
    replaced,
    write_table,
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
Outcome = tuple[int, str, str]
Apex = Callable[..., Outcome]


@pytest.fixture
def apex(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, market: SmallMarket
) -> Apex:
    """Run `apex` as its console script does: exit code, stdout, stderr; small market, own home."""
    monkeypatch.setenv("APEX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("APEX_BUNDLE", str(market.bundle))
    monkeypatch.setenv("APEX_DATASET", str(market.dataset))

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["apex", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        code = ended.value.code
        return code if isinstance(code, int) else int(code is not None), said.out, said.err

    return call


def refusal(outcome: Outcome, code: int = 3) -> str:
    """The one message of a refusal; everything before it on stderr is the log of the steps."""
    assert outcome[0] == code, outcome
    message = outcome[2].splitlines()[-1]
    assert message.startswith("REFUSED ")
    for part in (": expected=", ", received=", ", where=", ". What to do: "):
        assert part in message
    assert outcome[2].count("REFUSED") == 1
    assert "Traceback" not in outcome[2]
    return message


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


@pytest.mark.slow
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


def test_a_broken_threshold_exits_with_4(apex: Apex, market: SmallMarket, tmp_path: Path) -> None:
    close = market.values("Close")
    first = sorted(set(market.codes))[:70]
    close[(market.dates == AS_OF[JULY]) & np.isin(market.codes, first)] = np.nan
    dataset = market.changed(tmp_path / "unpriced.parquet", Close=close)
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


# --- bad inputs ---------------------------------------------------------------------------------------------


def missing(market: SmallMarket, out: Path) -> None:
    """No file at all."""


def truncated(market: SmallMarket, out: Path) -> None:
    out.write_bytes(market.dataset.read_bytes()[:-1000])


def no_parquet(market: SmallMarket, out: Path) -> None:
    out.write_text("Date,Code,Close\n")


def empty_file(market: SmallMarket, out: Path) -> None:
    out.touch()


def with_column(name: str, make: Callable[[pa.ChunkedArray], Any]) -> Callable[[SmallMarket, Path], None]:
    def write(market: SmallMarket, out: Path) -> None:
        write_table(replaced(market.table, **{name: make(market.table[name])}), out)

    return write


def without_columns(*names: str) -> Callable[[SmallMarket, Path], None]:
    return lambda market, out: write_table(market.table.drop_columns(list(names)), out) and None


def doubled(market: SmallMarket, out: Path) -> None:
    rows = [*range(len(market.dates)), 5, 6]
    write_table(market.table.take(pa.array(rows)), out)


def few_stocks(market: SmallMarket, out: Path) -> None:
    kept = sorted(set(market.codes))[:79]
    write_table(market.table.filter(pa.array(np.isin(market.codes, kept))), out)


def ends_early(market: SmallMarket, out: Path) -> None:
    write_table(market.table.filter(pa.array(market.dates < AS_OF[JULY])), out)


def first_null(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([None, *column.to_pylist()[1:]], column.type)


def ranks(column: pa.ChunkedArray) -> pa.Array:
    return pa.array(np.random.default_rng(3).uniform(0, 1, len(column)))


def in_zone(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="Asia/Tokyo"))


BAD_DATASETS: dict[str, tuple[Callable[[SmallMarket, Path], None], str]] = {
    "missing file": (missing, "dataset is missing: expected=a parquet file, received=no such file"),
    "truncated": (truncated, "dataset is not a readable parquet file"),
    "no parquet": (no_parquet, "dataset is not a readable parquet file"),
    "empty file": (empty_file, "expected=a complete parquet file, received=0 bytes"),
    "Date as text": (with_column("Date", lambda c: c.cast(pa.string())), "dataset column Date has the wrong type"),
    "Date with a zone": (with_column("Date", in_zone), "received=timestamp[us, tz=Asia/Tokyo]"),
    "Date as number": (with_column("Date", lambda c: c.cast(pa.int32())), "received=int32"),
    "Code as number": (with_column("Code", lambda c: c.cast(pa.int64())), "dataset column Code has the wrong type"),
    "Close as text": (with_column("Close", lambda c: c.cast(pa.string())), "dataset column Close has the wrong type"),
    "feature as text": (with_column("rsi_14", lambda c: c.cast(pa.string())), "column rsi_14 has the wrong type"),
    "null Date": (with_column("Date", first_null), "dataset has rows without a Date: expected=no nulls in Date"),
    "null Code": (with_column("Code", first_null), "dataset has rows without a Code"),
    "duplicate keys": (doubled, "duplicate (Date, Code) rows: expected=one row per stock and day, received=2"),
    "no Volume": (without_columns("Volume"), "dataset lacks required columns"),
    "no keys": (without_columns("Date", "Code"), "received=no Date, Code"),
    "missing returns": (without_columns("returns_5d"), "returns_5d"),
    "turnover ranks": (with_column("TurnoverValue", ranks), "TurnoverValue holds ranks, not amounts: expected=JPY"),
    "volume ranks": (with_column("Volume", ranks), "Volume holds ranks, not amounts: expected=shares"),
    "too few stocks": (few_stocks, "too few eligible stocks on 2025-06-30: expected=at least 80"),
    "as-of missing": (ends_early, "dataset has no rows for the as-of session 2025-06-30"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BAD_DATASETS))
def test_a_bad_dataset_is_refused_in_one_message(
    apex: Apex, market: SmallMarket, tmp_path: Path, case: str
) -> None:
    make, expected = BAD_DATASETS[case]
    dataset = tmp_path / "bad.parquet"
    make(market, dataset)
    outcome = apex("run", "--date", "2025-07-01", "--cold-start", "--dataset", dataset, "--json")
    assert expected in refusal(outcome)
    assert outcome[1] == ""
    assert published_bytes(tmp_path / "home") == {}


def test_raw_mode_says_that_missing_values_leave_no_stock(
    apex: Apex, market: SmallMarket, tmp_path: Path
) -> None:
    dataset = tmp_path / "gaps.parquet"
    with_column("rsi_14", lambda column: pa.nulls(len(column), column.type))(market, dataset)
    score = ("score", "--as-of", AS_OF[JULY], "--dataset", dataset, "--out", tmp_path / "scores.parquet")
    assert apex(*score)[0] == 0
    assert "Raw mode takes no missing value" in refusal(apex(*score, "--normalization", "raw"))


@pytest.mark.slow
def test_missing_features_are_refused_in_strict_and_filled_otherwise(
    apex: Apex, market: SmallMarket, tmp_path: Path
) -> None:
    dataset = tmp_path / "lacking.parquet"
    without_columns("rsi_14", "stmt_roe")(market, dataset)
    run = ("run", "--date", "2025-07-01", "--cold-start", "--dataset", dataset, "--json")
    message = refusal(apex(*run, "--features-mode", "strict"))
    assert "rsi_14" in message
    assert "stmt_roe" in message
    code, said, _ = apex(*run)
    assert code == 0
    # In the model's order, not the alphabet's.
    assert json.loads(said)["warnings"] == [
        "2 features are not in the dataset and were fed as 0: rsi_14, stmt_roe"
    ]
    assert "drop-missing" in refusal(apex(*run, "--features-mode", "drop-missing"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "--date", "2025-07-05"), "not a session of the Tokyo Stock Exchange"),
        (("run", "--date", "2025-01-01"), "not a session of the Tokyo Stock Exchange"),
        (("run", "--date", "2025-07-01", "--horizon", "7"), "run parameter horizon is invalid"),
        (("run", "--date", "2025-07-01", "--top-k", "0"), "run parameter top_k is invalid"),
        (("run", "--date", "2025-07-01"), "has no book to start from"),
        (("run", "--date", "2025-07-01", "--bundle", "nowhere"), "bundle"),
        (
            ("score", "--as-of", "2025-06-29", "--out", "x.parquet"),
            "not a session of the Tokyo Stock Exchange",
        ),
        (
            ("score", "--as-of", "2026-06-30", "--out", "x.parquet"),
            "dataset has no rows for the as-of session 2026-06-30",
        ),
        (("calendar", "--from", "2025-02-01", "--to", "2025-01-01"), "session range ends before it starts"),
        (("demo-data", "out", "--stocks", "1"), "number of stocks"),
        (("validate-bundle", "--dataset", "nowhere.parquet"), "dataset is missing"),
    ],
)
def test_other_bad_inputs_are_refused(
    apex: Apex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in refusal(apex(*arguments))


def test_nothing_named_is_refused(apex: Apex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APEX_BUNDLE")
    assert "no bundle is named" in refusal(apex("validate-bundle"))
    monkeypatch.setenv("APEX_BUNDLE", "x")
    monkeypatch.delenv("APEX_DATASET")
    assert "no dataset is named" in refusal(apex("validate-bundle"))


def test_a_home_that_is_a_file_is_refused(apex: Apex, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    for arguments in (("audit", "verify"), ("run", "--date", "2025-07-01", "--cold-start")):
        assert "the store is not a folder" in refusal(apex(*arguments))


def test_a_refusal_keeps_brackets_and_wraps_nothing(apex: Apex, tmp_path: Path) -> None:
    name = tmp_path / ("[bold]" + "long" * 40 + ".parquet")
    assert str(name) in refusal(apex("run", "--date", "2025-07-01", "--cold-start", "--dataset", name))


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


def test_a_naive_timestamp_is_as_good_as_a_date(apex: Apex, market: SmallMarket, tmp_path: Path) -> None:
    stamped = tmp_path / "stamped.parquet"
    with_column("Date", lambda column: column.cast(pa.timestamp("ns")))(market, stamped)
    for name, dataset in {"dates": market.dataset, "stamps": stamped}.items():
        code, _, _ = apex("score", "--as-of", "2025-06-30", "--dataset", dataset, "--out", tmp_path / name)
        assert code == 0
    assert (tmp_path / "dates").read_bytes() == (tmp_path / "stamps").read_bytes()


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_home_of_the_environment_is_used(apex: Apex, tmp_path: Path) -> None:
    assert apex("run", "--date", "2025-07-01", "--cold-start")[0] == 0
    assert Store(tmp_path / "home").names("portfolio") == [str(dt.date(2025, 7, 1))]
