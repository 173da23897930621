"""`apex smoke-test` from outside: exit codes, what a person reads, what a machine reads."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from apex_tasks import cli
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.rehearsal import smoke_test
from tests.support.small_market import AS_OF, SEPTEMBER, SmallMarket, published_bytes, write_table

pytestmark = pytest.mark.slow

Outcome = tuple[int, str, str]
SmokeTest = Callable[..., Outcome]
TODAY = ("--today", "2025-10-10", "--sessions", "2")


@pytest.fixture
def apex(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, market: SmallMarket
) -> SmokeTest:
    """Run `apex smoke-test`: exit code, stdout, stderr."""
    for name, value in {
        "HOME": tmp_path / "home",
        "BUNDLE": market.bundle,
        "DATASET": market.dataset,
    }.items():
        monkeypatch.setenv(f"APEX_{name}", str(value))

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["apex", "smoke-test", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def hole(market: SmallMarket, out: Path) -> Path:
    return write_table(market.table.filter(pa.array(market.dates != SEPTEMBER)), out)


def test_a_sound_deployment_passes_and_shows_every_part(apex: SmokeTest, tmp_path: Path) -> None:
    code, said, error = apex(*TODAY)
    assert code == 0
    parts = ["RESOLVED SETTINGS", "Smoke test passed", "Monthly rehearsal passed", "Checklist for 2025-10-10"]
    positions = [said.index(part) for part in [*parts, "Rehearsal passed"]]
    assert positions == sorted(positions)
    for part in ("2025-10-09", "equal", "2025-08-01", "2025-09-30", "✔ done", "○ open"):
        assert part in said
    assert "✘" not in said
    assert "REFUSED" not in error
    assert published_bytes(tmp_path / "home") == {}


def test_handshake_only_prints_the_settings_and_touches_nothing(apex: SmokeTest, tmp_path: Path) -> None:
    code, said, _ = apex("--handshake-only")
    assert (code, said.splitlines()[0]) == (0, "RESOLVED SETTINGS")
    assert "Smoke test" not in said
    code, said, _ = apex("--handshake-only", "--json")
    assert (code, json.loads(said)["settings"]["effective_dim"]) == (0, 178)
    assert json.loads(said).keys() == {"settings"}
    assert not (tmp_path / "home").exists()


def test_json_is_all_that_stdout_holds(apex: SmokeTest) -> None:
    code, said, _ = apex(*TODAY, "--months", 2, "--json")
    report = json.loads(said)
    assert (code, report["verdict"], report["problems"]) == (0, "passed", [])
    assert report["settings"]["bundle_sha256"] == report["bundle_sha256"]
    assert len(report["smoke_test"]["sessions"]) == 2
    assert report["monthly_rehearsal"]["expected"] == ["2025-09-01", "2025-10-01"]
    assert {finding["state"] for finding in report["checklist"]} == {"done", "open"}


def test_a_refused_input_exits_with_3_after_what_was_found(
    apex: SmokeTest, market: SmallMarket, tmp_path: Path
) -> None:
    code, said, error = apex("--handshake-only", "--dataset", "nowhere.parquet")
    assert (code, said) == (3, "")
    assert error.splitlines()[-1].startswith("REFUSED dataset is missing")
    forged = tmp_path / "bundle"
    shutil.copytree(market.bundle, forged)
    checkpoint = next(forged.rglob("*.pt"))
    checkpoint.write_bytes(checkpoint.read_bytes() + b" ")
    assert apex("--bundle", forged)[0] == 3
    lacking = write_table(
        market.table.filter(pa.array(market.dates != AS_OF[SEPTEMBER])), tmp_path / "lacking.parquet"
    )
    code, said, error = apex(*TODAY, "--dataset", lacking)
    assert code == 3
    assert "Smoke test passed" in said
    assert "too few eligible stocks on 2025-08-29" in error


def test_a_missing_rebalance_exits_with_4(apex: SmokeTest, market: SmallMarket, tmp_path: Path) -> None:
    dataset = hole(market, tmp_path / "hole.parquet")
    code, said, error = apex(*TODAY, "--dataset", dataset)
    assert code == 4
    for part in (
        "Monthly rehearsal failed",
        "2 rebalances instead of 3: missing 2025-09-01",
        "Rehearsal failed",
    ):
        assert part in said
    assert "✘ failed Months rehearsed" in said
    assert error.splitlines()[-1].startswith(
        "REFUSED the rehearsal failed: expected=no problem, received=Months"
    )
    code, said, _ = apex(*TODAY, "--dataset", dataset, "--json")
    assert (code, json.loads(said)["verdict"]) == (4, "failed")


def test_other_names_in_the_second_pass_exit_with_4(
    apex: SmokeTest, market: SmallMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dataset is replaced between the passes, at the moment that the second one reports its beginning."""
    dataset = tmp_path / "dataset.parquet"
    shutil.copyfile(market.dataset, dataset)
    run = smoke_test.smoke_test

    def interrupted(request: object, calendar: object, progress: ReportProgress | None = None) -> object:
        def replace_it(description: str, done: float, total: float) -> None:
            if description == smoke_test.SCORING_AGAIN and not done:
                market.changed(dataset, rsi_14=market.values("rsi_14")[::-1].copy())

        return run(request, calendar, replace_it)

    monkeypatch.setattr("apex_tasks.rehearsal.day_zero.smoke_test", interrupted)
    code, said, error = apex(*TODAY, "--dataset", dataset)
    assert code == 4
    assert "Smoke test failed" in said
    assert "the dataset was changed between the passes" in said
    assert "2025-10-09: rank " in error


@pytest.mark.parametrize(
    "arguments", [("--sessions", "0"), ("--months", "none"), ("--today", "yesterday"), ("--no-such-option",)]
)
def test_wrong_use_exits_with_2(apex: SmokeTest, arguments: tuple[str, ...]) -> None:
    code, said, error = apex(*arguments)
    assert (code, said) == (2, "")
    assert "Traceback" not in error


def test_today_is_the_date_in_tokyo_unless_given(apex: SmokeTest, market: SmallMarket) -> None:
    before = datetime.now(UTC) + timedelta(hours=9)
    code, said, _ = apex("--sessions", 1, "--months", 1, "--json")
    after = datetime.now(UTC) + timedelta(hours=9)
    assert code == 0
    assert json.loads(said)["today"] in {str(before.date()), str(after.date())}
