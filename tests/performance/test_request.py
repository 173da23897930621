"""The request of a performance run: which days and inputs follow from what is given."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from apex_tasks.performance.request import PerformanceRequest, resolve_performance_request
from apex_tasks.refusal import Refusal
from tests.support.small_market import (
    CALENDAR,
    small_settings,
)

MOMENT = dt.datetime(2025, 10, 10, 9, 0, tzinfo=dt.UTC)  # a Friday, 18:00 in Tokyo


def resolve(moment: dt.datetime, **given: Any) -> PerformanceRequest:
    return resolve_performance_request(
        {"dataset": "d.parquet", **given}, moment=moment, settings=small_settings("h"), calendar=CALENDAR
    )


@pytest.mark.parametrize(
    ("moment", "given", "until", "due"),
    [
        (MOMENT, {}, "2025-10-10", "2025-10-09"),
        (MOMENT, {"until": ""}, "2025-10-10", "2025-10-09"),
        (dt.datetime(2025, 10, 9, 16, tzinfo=dt.UTC), {}, "2025-10-10", "2025-10-09"),  # 01:00 in Tokyo
        (dt.datetime(2025, 10, 14, 9, tzinfo=dt.UTC), {}, "2025-10-14", "2025-10-10"),  # after a long weekend
        (MOMENT, {"until": "2025-10-05"}, "2025-10-05", "2025-10-03"),
        (MOMENT, {"until": "2025-10-03"}, "2025-10-03", "2025-10-03"),
    ],
)
def test_days_follow_from_the_moment_and_until(
    moment: dt.datetime, given: dict[str, Any], until: str, due: str
) -> None:
    request = resolve(moment, **given)
    assert (str(request.until), str(request.due)) == (until, due)


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(Refusal, match="until is no date"):
        resolve(MOMENT, until="10.10.2025")
    with pytest.raises(Refusal, match="run parameter as_of is unknown"):
        resolve(MOMENT, as_of="2025-10-10")
    with pytest.raises(Refusal, match="no dataset is named"):
        resolve(MOMENT, dataset=None)
    assert resolve(MOMENT).bundle is None
