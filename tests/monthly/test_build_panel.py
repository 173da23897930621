"""The panel of one as-of session: its supply, what is missing in it, and what it counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from apex_tasks.bundle import ResolvedBundle, read_bundle, resolve_bundle
from apex_tasks.monthly.build_panel import PanelRequest, build_panel
from apex_tasks.monthly.score import score
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings, RankingSettings
from apex_tasks.store import Store
from apex_tasks.tables import read_table
from tests.support.month_reading import run_document
from tests.support.small_market import (
    AS_OF,
    JULY,
    OCTOBER,
    SmallMarket,
    portfolio,
    run,
    small_settings,
    with_absences,
    write_table,
)


def without_stocks(market: SmallMarket, left: int, out: Path) -> Path:
    kept = sorted(set(market.codes))[:left]
    return write_table(market.table.filter(pa.array(np.isin(market.codes, kept))), out)


def test_too_few_eligible_stocks_are_refused(market: SmallMarket, tmp_path: Path) -> None:
    dataset = without_stocks(market, 79, tmp_path / "79.parquet")
    with pytest.raises(Refusal) as refused:
        run(market, tmp_path, JULY, dataset=str(dataset), cold_start=True)
    assert refused.value.received == "79"
    assert refused.value.expected.startswith("at least 80")
    assert refused.value.exit_code == 3
    run(
        market,
        tmp_path,
        JULY,
        dataset=str(without_stocks(market, 80, tmp_path / "80.parquet")),
        cold_start=True,
    )


def test_non_finite_values_are_counted_told_and_published(market: SmallMarket, tmp_path: Path) -> None:
    values = market.values("rsi_14")
    in_window = np.flatnonzero(market.dates == AS_OF[JULY])
    values[in_window[:3]] = np.nan, np.inf, -np.inf
    dataset = market.changed(tmp_path / "nan.parquet", rsi_14=pa.array(values, from_pandas=False))
    run(market, tmp_path / "home", JULY, dataset=str(dataset), cold_start=True)
    document = run_document(tmp_path / "home", JULY)
    assert document["metrics"]["non_finite_cells"] == 3
    (warning,) = document["warnings"]
    assert warning == "3 NaN or infinite cells in 1 features were treated as missing: rsi_14"


def test_an_incomplete_dataset_is_refused_before_anything_else(market: SmallMarket, tmp_path: Path) -> None:
    today = np.flatnonzero(market.dates == AS_OF[OCTOBER])
    kept = np.ones(len(market.dates), dtype=bool)
    kept[today[:7]] = False  # 113 of 120 are less than 95 %
    dataset = write_table(market.table.filter(pa.array(kept)), tmp_path / "thin.parquet")
    with pytest.raises(Refusal) as refused:
        run(market, tmp_path, OCTOBER, dataset=str(dataset), cold_start=True)
    assert refused.value.received == "113 rows"
    missing = write_table(
        market.table.filter(pa.array(market.dates < AS_OF[OCTOBER])), tmp_path / "m.parquet"
    )
    with pytest.raises(Refusal) as refused:
        run(market, tmp_path, OCTOBER, dataset=str(missing), cold_start=True)
    assert refused.value.what == f"dataset has no rows for the as-of session {AS_OF[OCTOBER]}"


def test_a_code_that_comes_back_begins_a_new_history(market: SmallMarket, tmp_path: Path) -> None:
    """Another company under an old code is not eligible before its own rows fill a window, and is named."""
    again, suspended, *_ = sorted(set(market.codes))
    dataset = with_absences(market, tmp_path / "d.parquet", {again: 60, suspended: 59})
    settings = small_settings("unused")
    scored = set(
        score(market.bundle, dataset, AS_OF[OCTOBER], settings)["Code"]
    )  # as v0.1.0: by all own rows
    assert {again, suspended} < scored
    run(market, tmp_path / "home", OCTOBER, dataset=str(dataset), cold_start=True)
    scores = read_table(portfolio(tmp_path / "home", OCTOBER), "scores.parquet")
    assert set(scores["Code"]) == scored - {again}
    assert run_document(tmp_path / "home", OCTOBER)["warnings"] == [
        f"1 codes came back after 60 sessions or more without a row, so they count as other stocks, not eligible "
        f"before 180 rows: {again}"
    ]


def test_the_length_of_an_absence_is_part_of_the_panels_key(market: SmallMarket, tmp_path: Path) -> None:
    again, *_ = sorted(set(market.codes))
    dataset = with_absences(market, tmp_path / "d.parquet", {again: 60})
    store = Store(str(tmp_path / "home"))
    panels = []
    for after in (60, 61):
        settings = small_settings("unused", ranking=RankingSettings(new_history_after_sessions=after))
        request = PanelRequest.of(bundle_of(market, settings), str(dataset), AS_OF[OCTOBER], settings)
        panels.append(build_panel(request, store))
    assert [panel.cached for panel in panels] == [False, False]
    assert panels[0].key != panels[1].key
    assert panels[1].eligible == panels[0].eligible + 1
    assert panels[1].warnings == ()


def bundle_of(market: SmallMarket, settings: ApexSettings) -> ResolvedBundle:
    return resolve_bundle(read_bundle(market.bundle, settings.bundle_limits), market.dataset, settings)
