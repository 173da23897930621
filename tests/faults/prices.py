"""Faults of closes, volumes and adjusted closes."""

from __future__ import annotations

import numpy as np

from tests.support.fault_table.attempt import both
from tests.support.fault_table.case import Case
from tests.support.fault_table.cells import (
    AMOUNTS,
    MARKET,
    PRICES,
    bought,
    column,
    exchanged,
    filled,
    held,
    nulled,
    of_session_before,
    scaled,
    shuffled,
    split,
    unwanted,
)
from tests.support.fault_table.places import (
    AFTER_AS_OF,
    AS_OF_ROWS,
    IN_WINDOWS,
    any_rows,
    of_bought,
    of_held,
    of_share,
    of_unwanted,
    session,
    since,
)
from tests.support.fault_table.rows import renamed, without_columns
from tests.support.fault_table.verdicts import refused, same, told

CLOSE, VOLUME, TURNOVER, ADJUSTED = ("Close",), ("Volume",), ("TurnoverValue",), ("AdjustmentClose",)
UNWANTED = "13010"  # the first of `of_unwanted`
UNSOUND, NAMES = refused("not sound"), refused("in question")
RANKS = lambda attempt: np.random.default_rng(3).uniform(0, 1, attempt.table.num_rows)  # noqa: E731

LATE = (
    Case("late close: no price but a volume for 85 %", nulled(PRICES, AS_OF_ROWS & of_share(0.85)), UNSOUND),
    Case("late close: no price but a volume for 55 %", nulled(PRICES, AS_OF_ROWS & of_share(0.55)), UNSOUND),
    Case("late close: no price for 8 %", nulled(PRICES, AS_OF_ROWS & of_share(0.08)), UNSOUND),
    Case("late close: Close alone is null for 55 %", nulled(CLOSE, AS_OF_ROWS & of_share(0.55)), UNSOUND),
    Case("late close: 0 for 55 %", filled(PRICES, 0.0, AS_OF_ROWS & of_share(0.55)), UNSOUND),
    Case("late close: -1 for 55 %", filled(PRICES, -1.0, AS_OF_ROWS & of_share(0.55)), UNSOUND),
    Case("late close: NaN for 55 %", filled(PRICES, np.nan, AS_OF_ROWS & of_share(0.55)), UNSOUND),
    Case("late close: infinite for 55 %", filled(PRICES, np.inf, AS_OF_ROWS & of_share(0.55)), UNSOUND),
    Case("late close: prices and volumes null for all", nulled(MARKET, AS_OF_ROWS), refused("close")),
    Case("late volume: null for 55 %", nulled(AMOUNTS, AS_OF_ROWS & of_share(0.55)), UNSOUND),
    Case("late volume: 0 for all", filled(AMOUNTS, 0.0, AS_OF_ROWS), UNSOUND),
    Case("late volume: null in the whole file", nulled(AMOUNTS), UNSOUND),
    Case("no close of one stock that would be bought", nulled(PRICES, AS_OF_ROWS & of_bought()), told("close")),
    Case("no close of one stock that is held", nulled(PRICES, AS_OF_ROWS & of_held()), told("no close on 2025-09-30"), held=True),
    Case("no volume of one stock that would be bought", nulled(AMOUNTS, AS_OF_ROWS & of_bought()), told("without a known volume")),
    Case("no close of one stock that nobody wants, ten sessions ago", nulled(PRICES, session(10) & of_unwanted()), same()),
)  # fmt: skip

COPIES = (
    Case("as-of session a copy of the day before", of_session_before(MARKET), UNSOUND),
    Case("as-of session a copy for 30 % of the stocks", of_session_before(MARKET, AS_OF_ROWS & of_share(0.3)), UNSOUND),
    Case("as-of session a copy of the week before", of_session_before(MARKET, back=5), UNSOUND),
    Case("closes of the as-of session dealt to other stocks", shuffled(PRICES), UNSOUND),
    Case("closes and amounts of the as-of session dealt to other stocks", shuffled(("Close", "Volume")), UNSOUND),
)  # fmt: skip

SCALES = (
    Case("prices x1000 in the whole file", scaled(PRICES, 1000), UNSOUND),
    Case("prices /1000 in the whole file", scaled(PRICES, 1e-3), UNSOUND),
    Case("prices in cents", scaled(PRICES, 100), UNSOUND),
    Case("prices x2 in the whole file", scaled(PRICES, 2), UNSOUND),
    Case("prices x1000 on the as-of session", scaled(PRICES, 1000, AS_OF_ROWS), UNSOUND),
    Case("prices /1000 on the as-of session", scaled(PRICES, 1e-3, AS_OF_ROWS), UNSOUND),
    Case("prices x2 on the as-of session", scaled(PRICES, 2, AS_OF_ROWS), UNSOUND),
    Case("prices x1000 for 30 % of the stocks, last 20 sessions", scaled(PRICES, 1000, since(20) & of_share(0.3)), UNSOUND),
    Case("prices x2 for 30 % of the stocks, last 20 sessions", scaled(PRICES, 2, since(20) & of_share(0.3)), UNSOUND),
    Case("prices x1000 of one stock that would be bought", scaled(PRICES, 1000, AS_OF_ROWS & of_bought()), NAMES),
    Case("prices /1000 of one stock that would be bought", scaled(PRICES, 1e-3, AS_OF_ROWS & of_bought()), NAMES),
    Case("prices x2 of one stock that is held", scaled(PRICES, 2, AS_OF_ROWS & of_held()), NAMES, held=True),
    Case("prices x0.4 of one stock that is held, ten sessions ago", scaled(PRICES, 0.4, session(10) & of_held()), NAMES, held=True),
    Case("prices x2 of one stock that nobody wants", scaled(PRICES, 2, session(10) & of_unwanted()), told(UNWANTED)),
    Case("closes beyond the daily limit for 5 %, ten sessions ago", scaled(PRICES, 1.7, session(10) & of_share(0.05)), UNSOUND),
    Case("volumes x1000", scaled(VOLUME, 1000), UNSOUND),
    Case("volumes in lots of 100", scaled(VOLUME, 1e-2), UNSOUND),
    Case("TurnoverValue in thousands of JPY", scaled(TURNOVER, 1e-3), UNSOUND),
    Case("TurnoverValue in millions of JPY", scaled(TURNOVER, 1e-6), UNSOUND),
    Case("TurnoverValue in thousands on the as-of session", scaled(TURNOVER, 1e-3, AS_OF_ROWS), UNSOUND),
    Case("TurnoverValue is percentile ranks", column("TurnoverValue", RANKS), UNSOUND, quick=True),
    Case("Volume is percentile ranks", column("Volume", RANKS), UNSOUND),
    Case("Close is percentile ranks", column("Close", RANKS), UNSOUND),
    Case("TurnoverValue null: Volume x Close stands for it", nulled(TURNOVER), same()),
)  # fmt: skip

EXCHANGED = (
    Case("Close and Volume exchanged", exchanged("Close", "Volume"), UNSOUND),
    Case("Close and Volume exchanged on the as-of session", exchanged("Close", "Volume", AS_OF_ROWS), UNSOUND),
    Case("Close and TurnoverValue exchanged", exchanged("Close", "TurnoverValue"), UNSOUND),
    Case("Volume and TurnoverValue exchanged", exchanged("Volume", "TurnoverValue"), UNSOUND),
    Case("Close and Volume exchanged for one stock that would be bought", exchanged("Close", "Volume", AS_OF_ROWS & of_bought()), NAMES),
)  # fmt: skip

SPLITS = (
    Case("a true split of a stock that nobody wants", split(unwanted, 9, 0.5, adjusted=True), same()),
    Case("split that nothing tells of, stock that nobody wants", split(unwanted, 9, None, adjusted=False), told(UNWANTED)),
    Case("split that nothing tells of, stock that would be bought", split(bought, 9, None, adjusted=False), NAMES),
    Case("split that nothing tells of, stock that is held", split(held, 9, None, adjusted=False), NAMES, held=True),
    Case("split that nothing tells of, on the as-of session", split(held, 0, None, adjusted=False), NAMES, held=True),
    Case("AdjustmentClose not rewritten, stock that nobody wants", split(unwanted, 9, 0.5, adjusted=False), told("Adjustment")),
    Case("AdjustmentClose not rewritten, stock that would be bought", split(bought, 9, 0.5, adjusted=False), NAMES),
    Case("AdjustmentClose not rewritten, stock that is held", split(held, 9, 0.5, adjusted=False), NAMES, held=True),
    Case("AdjustmentFactor 2 for a split by two", split(bought, 9, 2.0, adjusted=True), told("Adjustment")),
    Case("AdjustmentFactor 0.5 without any split", scaled(("AdjustmentFactor",), 0.5, session(9) & of_bought()), told("Adjustment")),
    Case("one wrong AdjustmentClose, stock that nobody wants", scaled(ADJUSTED, 1.7, session(9) & of_unwanted()), told("Adjustment")),
    Case("one wrong AdjustmentClose, stock that would be bought", scaled(ADJUSTED, 1.7, session(9) & of_bought()), NAMES),
    Case("one wrong AdjustmentClose, stock that is held", scaled(ADJUSTED, 1.7, session(9) & of_held()), NAMES, held=True),
    Case("AdjustmentClose x2 since a day without a split", scaled(ADJUSTED, 2, since(9) & of_bought()), NAMES),
    Case("AdjustmentClose x2 on the as-of session for all", scaled(ADJUSTED, 2, AS_OF_ROWS), UNSOUND),
    Case("AdjustmentClose null on the day of a split of a held stock", both(split(held, 9, 0.5, adjusted=True), nulled(ADJUSTED, session(9) & of_held())), told("Adjustment"), held=True),
    Case("AdjustmentClose null on a day, stock that is held", nulled(ADJUSTED, session(9) & of_held()), told("Adjustment"), held=True),
    Case("AdjustmentClose x2 in the whole file: adjusted to another day", scaled(ADJUSTED, 2), same(), held=True),
    Case("no AdjustmentFactor", without_columns("AdjustmentFactor"), same(), held=True),
    Case("no AdjustmentClose, and no split of a held stock", without_columns("AdjustmentClose"), same(), held=True),
    Case("AdjustmentClose under another name", renamed("AdjustmentClose", "AdjClose"), same(), held=True),
)  # fmt: skip

UNUSED = (
    Case("Open x1000: nobody reads it", scaled(("Open",), 1000), same()),
    Case("Open null", nulled(("Open",)), same()),
    Case("prices x1000 after the as-of session", scaled(PRICES, 1000, AFTER_AS_OF), same()),
    Case("prices null after the as-of session", nulled(MARKET, AFTER_AS_OF), same(), held=True),
    Case("1 % of older closes are null", nulled(PRICES, IN_WINDOWS & ~since(30) & any_rows(0.01)), same()),
)  # fmt: skip

CASES = (*LATE, *COPIES, *SCALES, *EXCHANGED, *SPLITS, *UNUSED)
