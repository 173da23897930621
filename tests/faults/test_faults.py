"""Every fault of the table comes to the verdict that stands beside it, through the real command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.table import CASES
from tests.support.fault_table.attempt import Attempt
from tests.support.fault_table.case import Case
from tests.support.fault_table.market import SoundMarket, published_files


@pytest.mark.parametrize("case", [case.parameter() for case in CASES])
def test_a_fault_comes_to_its_verdict(sound_market: SoundMarket, tmp_path: Path, case: Case) -> None:
    attempt = Attempt(sound_market, tmp_path, from_cash=not case.held)
    sound = sound_market.sound_second_month if case.held else sound_market.sound_month
    try:
        case.change(attempt)
        before = published_files(attempt.home)
        outcome = attempt.run()
        case.verdict.check(outcome, published_files(attempt.home), before, sound)
    finally:
        shutil.rmtree(tmp_path)  # each has a panel: together they would fill a small disk
