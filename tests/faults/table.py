"""The table of faults: every row, by what it is a fault of."""

from __future__ import annotations

from tests.faults import bundles, codes, configurations, days, features, files, prices, requests
from tests.support.fault_table.case import Case

CHAPTERS: dict[str, tuple[Case, ...]] = {
    "Prices and volumes": prices.CASES,
    "Features": features.CASES,
    "Dates, sessions and rows": days.CASES,
    "Codes and sectors": codes.CASES,
    "The dataset's file": files.CASES,
    "The bundle": bundles.CASES,
    "The request and the store": requests.CASES,
    "The settings": configurations.CASES,
}
CASES = tuple(case for cases in CHAPTERS.values() for case in cases)
