"""Faults of the features that the model reads."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tests.support.fault_table.attempt import asked, both
from tests.support.fault_table.case import Case
from tests.support.fault_table.cells import FEATURES, column, column_as, filled, nulled, scaled
from tests.support.fault_table.places import (
    AFTER_AS_OF,
    AS_OF_ROWS,
    BEFORE_WINDOWS,
    IN_WINDOWS,
    any_rows,
    of_bought,
    of_share,
    since,
)
from tests.support.fault_table.rows import renamed, without_columns
from tests.support.fault_table.verdicts import refused, same, told

RSI, RETURN = ("rsi_14",), ("returns_5d",)
STRICT = asked("--features-mode", "strict")
UNSOUND = refused("not sound")

CASES = (
    Case("one feature null in the whole file", nulled(RSI), told("rsi_14")),
    Case("one feature null in the whole file, strict", both(nulled(RSI), STRICT), UNSOUND),
    Case("one feature null over the lookback", nulled(RSI, IN_WINDOWS), told("rsi_14")),
    Case("one feature 0 in the whole file", filled(RSI, 0.0), told("rsi_14")),
    Case("one feature constant over the lookback", filled(RSI, 50.0, IN_WINDOWS), told("rsi_14")),
    Case("one feature constant, strict", both(filled(RSI, 50.0), STRICT), UNSOUND),
    Case("half of the features null", nulled(FEATURES[::2]), refused()),
    Case("all features null", nulled(FEATURES), refused()),
    Case("all features constant", filled(FEATURES, 1.0), refused()),
    Case("returns null in the whole file", nulled(RETURN), UNSOUND),
    Case("returns 0 in the whole file", filled(RETURN, 0.0), UNSOUND),
    Case("all features null on the as-of session", nulled(FEATURES, AS_OF_ROWS), UNSOUND),
    Case("one feature null on the as-of session", nulled(RSI, AS_OF_ROWS), UNSOUND),
    Case("one feature null for half of the stocks on the as-of session", nulled(RSI, AS_OF_ROWS & of_share(0.5)), UNSOUND),
    Case("all features null for half of the stocks on the as-of session", nulled(FEATURES, AS_OF_ROWS & of_share(0.5)), UNSOUND),
    Case("some features NaN on the as-of session", filled(RSI, np.nan, AS_OF_ROWS & of_bought(2)), told("NaN or infinite cells", "rsi_14"), quick=True),
    Case("some features infinite", filled(RSI, np.inf, any_rows(0.002)), told("NaN or infinite cells", "rsi_14")),
    Case("a feature that is missing", without_columns("rsi_14"), told("not in the dataset and were fed as 0", "rsi_14"), quick=True),
    Case("a feature that is missing, strict", both(without_columns("rsi_14"), STRICT), refused("rsi_14")),
    Case("a feature that is missing, dropped", both(without_columns("rsi_14"), asked("--features-mode", "drop-missing")), refused("drop-missing")),
    Case("a feature in other letters", renamed("rsi_14", "RSI_14"), same()),
    Case("a feature with a blank after its name", renamed("rsi_14", "rsi_14 "), told("fed as 0", "rsi_14")),
    Case("an operand of a feature that is missing", without_columns("dmi_z26_short"), told("fed as 0", "dmi_z26_net")),
    Case("returns that are missing", without_columns("returns_5d"), refused("returns_5d")),
    Case("no feature at all", without_columns(*FEATURES), refused("returns_5d")),
    Case("a feature as text", column_as("rsi_14", pa.string()), refused("column rsi_14 has the wrong type", "string")),
    Case("a feature as decimals", column_as("rsi_14", pa.decimal128(18, 4)), refused("column rsi_14 has the wrong type", "decimal128")),
    Case("a feature as dates", column("rsi_14", lambda a: a.table["Date"]), refused("column rsi_14 has the wrong type", "date32")),
    Case("a feature as lists", column("rsi_14", lambda a: pa.array([[1.0]] * a.table.num_rows)), refused("column rsi_14 has the wrong type", "list")),
    Case("a feature of the null type", column("rsi_14", lambda a: pa.nulls(a.table.num_rows)), refused("column rsi_14 has the wrong type", "null")),
    Case("a feature as yes and no, all the same", column("rsi_14", lambda a: np.ones(a.table.num_rows, bool)), told("rsi_14")),
    Case("features that nobody asked for", column("alpha_360", lambda a: np.arange(a.table.num_rows)), same()),
    Case("features x1000 after the as-of session", scaled(FEATURES, 1000, AFTER_AS_OF), same()),
    Case("features null before the lookback", nulled(FEATURES, BEFORE_WINDOWS), same()),
    Case("a csz bundle run raw", asked("--normalization", "raw"), refused("trained on csz features")),
    Case("a csz bundle run raw for a reason", asked("--normalization", "raw", "--normalization-reason", "a test"), told("normalization raw instead of csz")),
    Case("a csz bundle run raw, with a missing value in every window", both(nulled(RSI, IN_WINDOWS & ~since(60)), asked("--normalization", "raw", "--normalization-reason", "a test")), refused("Raw mode takes no missing value")),
)  # fmt: skip
