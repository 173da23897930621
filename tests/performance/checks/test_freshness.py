"""First check: is the dataset complete?"""

from __future__ import annotations

from pathlib import Path

from apex_tasks.performance.checks.check import CheckVerdict
from apex_tasks.performance.checks.freshness import check_dataset
from apex_tasks.settings import FreshnessSettings
from tests.support.checks import verdict_of
from tests.support.small_market import CALENDAR, LAST_SESSION, SmallMarket, write_table


def test_a_complete_dataset_is_fresh(market: SmallMarket) -> None:
    check = check_dataset(str(market.dataset), LAST_SESSION, FreshnessSettings())
    assert verdict_of(check) is CheckVerdict.OK
    assert "2025-10-10 is the newest session due and has 120 rows, against a median of 120" in check.finding


def test_a_session_that_is_missing_or_thin_needs_attention(market: SmallMarket, tmp_path: Path) -> None:
    missing = check_dataset(str(market.dataset), CALENDAR.next_session(LAST_SESSION), FreshnessSettings())
    assert verdict_of(missing) is CheckVerdict.ATTENTION
    assert "has 0 rows" in missing.finding
    strict = FreshnessSettings(min_row_ratio=1.0)
    thin = write_table(market.table.slice(0, market.table.num_rows - 1), tmp_path / "thin.parquet")
    assert verdict_of(check_dataset(str(thin), LAST_SESSION, strict)) is CheckVerdict.ATTENTION
    assert verdict_of(check_dataset(str(tmp_path / "none"), LAST_SESSION, strict)) is CheckVerdict.ATTENTION
