"""The judgement of prices, volumes and dates: a sound delivery is sound, and every kind of fault is found by name."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apex_tasks.dataset.judgement.judge import judge_dataset
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.refusal import Refusal
from apex_tasks.settings import FreshnessSettings, JudgementSettings
from tests.support.random_dataset import write
from tests.support.sound_prices import (
    AS_OF,
    BEFORE,
    CALENDAR,
    CODES,
    EARLIER,
    SESSIONS,
    SPLIT_DAY,
    Change,
    judged,
    sound_prices,
    verdicts,
)

PRICES = ["Close", "AdjustmentClose"]
SOUND = sound_prices()
STOPS, TOLD = True, False


def test_a_sound_delivery_has_no_fault(tmp_path: Path) -> None:
    judgement = judged(SOUND, tmp_path)
    assert judgement.faults == ()
    assert (judgement.rows, judgement.priced, judgement.traded) == (60, 60, 60)
    assert set(judgement.counts().values()) == {0}
    for column in ("AdjustmentFactor", "AdjustmentClose"):  # either one explains the splits
        assert judged(SOUND.drop(columns=column), tmp_path).faults == ()


def on(frame: pd.DataFrame, day: dt.date, share: float = 1.0) -> pd.Series:
    """Rows of a day, or of its first stocks."""
    return (frame["Date"] == day) & frame["Code"].isin(CODES[: round(share * len(CODES))])


def setting(day: dt.date, columns: list[str], value: object, share: float = 1.0) -> Change:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[on(frame, day, share), columns] = value
        return frame

    return change


def scaled(columns: list[str], by: float, codes: list[str], first: dt.date = EARLIER) -> Change:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[frame["Code"].isin(codes) & (frame["Date"] >= first), columns] *= by
        return frame

    return change


def shifted(days: int) -> Change:
    return lambda frame: frame.assign(Date=[day + dt.timedelta(days=days) for day in frame["Date"]])


def without(*days: dt.date) -> Change:
    return lambda frame: frame[~frame["Date"].isin(days)]


def copied(day: dt.date, source: dt.date, share: float = 1.0) -> Change:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        columns = ["Close", "AdjustmentClose", "Volume", "TurnoverValue"]
        frame.loc[on(frame, day, share), columns] = frame.loc[on(frame, source, share), columns].to_numpy()
        return frame

    return change


def exchanged(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame["Date"] >= EARLIER
    frame.loc[rows, ["Close", "Volume"]] = frame.loc[rows, ["Volume", "Close"]].to_numpy()
    return frame


def split_not_adjusted(frame: pd.DataFrame) -> pd.DataFrame:
    """Halved from a day on, without a factor and without a step of AdjustmentClose."""
    return scaled(PRICES, 0.5, ["13220"])(frame)


def split_not_rewritten(frame: pd.DataFrame) -> pd.DataFrame:
    """The factor is there, the adjusted closes before the day are not rewritten."""
    frame.loc[(frame["Code"] == "13220") & (frame["Date"] == EARLIER), "AdjustmentFactor"] = 0.5
    return scaled(PRICES, 0.5, ["13220"])(frame)


def null_on_the_split_day(frame: pd.DataFrame) -> pd.DataFrame:
    frame = split_not_adjusted(frame)
    frame.loc[(frame["Code"] == "13220") & (frame["Date"] == EARLIER), PRICES] = None
    return frame


def one_adjusted(by: float, day: dt.date = EARLIER) -> Change:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[(frame["Code"] == "13220") & (frame["Date"] == day), "AdjustmentClose"] *= by
        return frame

    return change


FAULTS: dict[str, tuple[Change, dict[str, bool]]] = {
    "more than a twentieth without a close": (setting(AS_OF, PRICES, None, 0.06), {"prices_missing": STOPS}),
    "closes of zero": (setting(AS_OF, PRICES, 0.0, 0.5), {"prices_missing": STOPS}),
    "late session without volumes": (setting(AS_OF, ["Volume"], 0.0, 0.5), {"volumes_missing": STOPS}),
    "an earlier session absent": (without(EARLIER), {"sessions_absent": STOPS}),
    "three sessions absent": (without(*SESSIONS[3:6]), {"sessions_absent": STOPS}),
    "a session without a price": (setting(EARLIER, PRICES, None), {"sessions_unpriced": STOPS}),
    "a thin session": (setting(EARLIER, PRICES, None, 0.6), {"sessions_thin": TOLD}),
    "the as-of session repeats the one before": (copied(AS_OF, BEFORE), {"session_repeated": STOPS}),
    "a fifth of it does": (copied(AS_OF, BEFORE, 0.2), {"session_repeated": STOPS}),
    "an earlier one does": (copied(EARLIER, SESSIONS[19]), {"earlier_sessions_repeated": TOLD}),
    "all closes times 1000": (scaled(PRICES, 1000, CODES), {"market_moved": STOPS, "turnover_mismatched": STOPS}),
    "all closes by 1000": (scaled(PRICES, 0.001, CODES), {"market_moved": STOPS, "turnover_mismatched": STOPS}),
    "all closes doubled": (scaled(PRICES, 2, CODES), {"market_moved": STOPS, "turnover_mismatched": STOPS}),
    "a tenth of the closes doubled": (scaled(PRICES, 2, CODES[:6]), {"market_moved": STOPS}),
    "two closes doubled": (scaled(PRICES, 2, CODES[2:4]), {}),
    "volumes in lots": (scaled(["Volume"], 0.01, CODES, SESSIONS[0]), {"turnover_mismatched": STOPS}),
    "close and volume exchanged": (exchanged, {"market_moved": STOPS}),
    "a split that is not adjusted for": (split_not_adjusted, {}),
    "a split that was not rewritten": (split_not_rewritten, {"adjustments_contradicted": TOLD}),
    "a null on its day": (null_on_the_split_day, {}),
    "one adjusted close tenfold": (one_adjusted(10), {"adjustments_contradicted": TOLD}),
    "one adjusted close 5 % off": (one_adjusted(1.05), {"adjustments_contradicted": TOLD}),
    "codes of four digits and a suffix": (
        lambda frame: frame.assign(Code=[code[:4] + ".T" for code in frame["Code"]]),
        {"codes_unknown": STOPS},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name: str, tmp_path: Path) -> None:
    change, expected = FAULTS[name]
    found = verdicts(judged(change(SOUND.copy()), tmp_path))
    assert expected.items() <= found.items(), found
    assert found, "passed in silence"


@pytest.mark.parametrize("days", [-1, 1, 2, -7])
def test_shifted_dates_cannot_pass(days: int, tmp_path: Path) -> None:
    found = verdicts(judged(shifted(days)(SOUND.copy()), tmp_path))
    assert any(found.values()), found
    if abs(days) < 7:
        assert found["off_session_rows"] is STOPS


@pytest.mark.parametrize("by", [0.5, 2.0, 10.0, 1000.0])
def test_a_single_move_names_the_stock_and_stops_only_who_holds_it(by: float, tmp_path: Path) -> None:
    judgement = judged(scaled(PRICES, by, ["13220"])(SOUND.copy()), tmp_path)
    (moved,) = [fault for fault in judgement.faults if fault.fault == "closes_moved"]
    assert (moved.codes, moved.count, moved.stops) == (("13220",), 1, False)
    assert f"13220 {EARLIER}" in moved.told
    judgement.require_sound("here")
    judgement.require_sound_names(["13010"], "here")
    with pytest.raises(Refusal, match=r"held or ordered names.*13220"):
        judgement.require_sound_names(["13010", "13220"], "here")
    accepted = judged(
        scaled(PRICES, by, ["13220"])(SOUND.copy()), tmp_path, accepted_moves=f"13220@{EARLIER}"
    )
    assert "closes_moved" not in verdicts(accepted)


def test_a_warning_only_is_told_and_stops_nothing(tmp_path: Path) -> None:
    frame = without(EARLIER)(SOUND.copy())
    assert verdicts(judged(frame, tmp_path, warn_only="sessions_absent")) == {"sessions_absent": TOLD}
    with pytest.raises(Refusal, match="dataset is not sound") as caught:
        judged(frame, tmp_path).require_sound("here")
    assert str(EARLIER) in caught.value.received


def test_what_is_after_the_as_of_session_or_before_the_lookback_is_not_looked_at(tmp_path: Path) -> None:
    later = SOUND[SOUND["Date"] == AS_OF].assign(Date=dt.date(2025, 11, 4), Close=1.0)
    weekend = SOUND[SOUND["Date"] == AS_OF].assign(Date=dt.date(2025, 11, 1))
    assert judged(pd.concat([SOUND, weekend, later]), tmp_path).faults == ()
    frame = scaled(PRICES, 0.5, CODES, SPLIT_DAY)(SOUND.copy())
    assert verdicts(judged(frame, tmp_path))["market_moved"]
    short = judged(frame, tmp_path, lookback=40 - SESSIONS.index(SPLIT_DAY))
    assert "market_moved" not in verdicts(short)


def test_the_day_of_the_failed_system_is_no_fault(tmp_path: Path) -> None:
    failed = dt.date(2020, 10, 1)
    days = CALENDAR.sessions(dt.date(2020, 8, 1), dt.date(2020, 10, 30))[-40:]
    frame = SOUND.assign(Date=np.repeat(days, len(CODES)))
    frame.loc[frame["Date"] == failed, [*PRICES, "Volume", "TurnoverValue"]] = None
    file = open_dataset(write(frame, tmp_path / "prices.parquet"))
    found = judge_dataset(file, days[-1], 40, FreshnessSettings(), JudgementSettings(), CALENDAR)
    assert found.faults == ()


def test_another_market_has_its_own_codes_sessions_and_moves(tmp_path: Path) -> None:
    frame = SOUND.assign(Code=[f"{code[:4]}.X" for code in SOUND["Code"]])
    frame = without(EARLIER)(shifted(1)(frame))
    frame = frame[frame["Date"] <= AS_OF]
    assert judged(frame, tmp_path, market="generic").faults == ()
    moved = scaled(PRICES, 4, ["1322.X"])(frame)
    assert verdicts(judged(moved, tmp_path, market="generic")) == {
        "closes_moved": TOLD,
        "stock_turnover_mismatched": TOLD,
    }


def test_many_splits_on_one_day_are_no_fault(tmp_path: Path) -> None:
    """Half of Tokyo's splits of a year are on the first sessions of April and October."""
    frame, splitting = SOUND.copy(), CODES[5:15]
    mine = frame["Code"].isin(splitting)
    frame.loc[mine & (frame["Date"] < EARLIER), "Close"] *= 3
    frame.loc[mine & (frame["Date"] < EARLIER), "TurnoverValue"] *= 3
    frame.loc[mine & (frame["Date"] == EARLIER), "AdjustmentFactor"] = 1 / 3
    assert judged(frame, tmp_path).faults == ()
    assert judged(frame.drop(columns="AdjustmentFactor"), tmp_path).faults == ()


def test_codes_that_no_row_of_the_lookback_has_are_not_judged(tmp_path: Path) -> None:
    frame = SOUND.assign(Code=pd.Categorical(SOUND["Code"], [*CODES, "7203.T"]))
    old = SOUND[SOUND["Date"] == SESSIONS[0]].assign(
        Date=dt.date(2020, 1, 6), Code=[f"OLD{n}" for n in range(60)]
    )
    assert judged(frame, tmp_path).faults == ()
    assert judged(pd.concat([old, SOUND]), tmp_path).faults == ()
