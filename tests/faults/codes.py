"""Faults of codes and sectors."""

from __future__ import annotations

import pyarrow as pa

from tests.support.fault_table.case import Case
from tests.support.fault_table.cells import column, column_as, nulled, text, texts
from tests.support.fault_table.places import AFTER_AS_OF, AS_OF_ROWS, of_bought, of_unwanted, session, since
from tests.support.fault_table.rows import without_columns
from tests.support.fault_table.verdicts import refused, same, told

ONE, CELL = of_unwanted(), AS_OF_ROWS & of_unwanted()
UNSAFE = refused("column Code has 1 texts that it must not have")
UNSOUND = refused("not sound")
SECTOR = "sector33_code"

CASES = (
    Case("codes of 4 digits since the middle of the lookback", texts("Code", lambda code: code[:4], since(20)), refused("too few eligible stocks")),
    Case("codes of 4 digits after a month of 5 digits", texts("Code", lambda code: code[:4]), refused(), held=True),
    Case("codes with .T after them", texts("Code", lambda code: code + ".T"), UNSOUND),
    Case("codes with .0 after them, as a spreadsheet writes numbers", texts("Code", lambda code: code + ".0"), UNSOUND),
    Case("codes with TYO- before them", texts("Code", lambda code: "TYO-" + code), UNSOUND),
    Case("codes are ISINs", texts("Code", lambda code: f"JP3{code}0004"), UNSOUND),
    Case("a code of 3 characters", text("Code", "130", ONE), UNSOUND),
    Case("a code of 6 digits", text("Code", "130101", ONE), UNSOUND),
    Case("a code in small letters", text("Code", "130a0", ONE), UNSOUND),
    Case("a new code with a letter", text("Code", "130A0", ONE & AFTER_AS_OF), same()),
    Case("HTML in a code", text("Code", "<script>alert(1)</script>", CELL), UNSAFE, quick=True),
    Case("a formula in a code", text("Code", "=cmd|'/c calc'!A0", CELL), UNSAFE),
    Case("a plus before a code", text("Code", "+13010", CELL), UNSAFE),
    Case("an at sign before a code", text("Code", "@SUM(A1)", CELL), UNSAFE),
    Case("a line break in a code", text("Code", "13010\r\n99990", CELL), UNSAFE),
    Case("a zero byte in a code", text("Code", "1301\x000", CELL), UNSAFE),
    Case("an escape sequence in a code", text("Code", "\x1b[31m13010", CELL), UNSAFE),
    Case("a right-to-left mark in a code", text("Code", "\u202e01031", CELL), UNSAFE),
    Case("a zero-width blank in a code", text("Code", "1301\u200b0", CELL), UNSAFE),
    Case("a blank after a code", text("Code", "13010 ", CELL), UNSAFE),
    Case("full-width digits in a code", text("Code", "１３０１０", CELL), UNSAFE),
    Case("a path as a code", text("Code", "../../etc/passwd", CELL), UNSAFE),
    Case("an empty code", text("Code", "", CELL), UNSAFE),
    Case("a code of 200 characters", text("Code", "1" * 200, CELL), UNSAFE),
    Case("a code of 12 MB", text("Code", "1" * 12_000_000, session(0) & of_unwanted()), refused("a text of 12000000 bytes")),
    Case("one code is null", text("Code", None, CELL), refused("rows without a Code")),
    Case("two stocks under one code", text("Code", "13010", of_bought()), refused("duplicate (Date, Code) rows")),
    Case("codes as numbers", column_as("Code", pa.int64()), refused("column Code has the wrong type", "int64")),
    Case("codes as decimals", column("Code", lambda a: a.table["Code"].cast(pa.float64())), refused("column Code has the wrong type", "double")),
    Case("codes as bytes", column_as("Code", pa.binary()), refused("column Code has the wrong type", "binary")),
    Case("codes as string_view", column_as("Code", pa.string_view()), same()),
    Case("codes as large_string", column_as("Code", pa.large_string()), same()),
    Case("codes as a dictionary", column("Code", lambda a: a.table["Code"].dictionary_encode()), same()),
    Case("HTML in a sector", text(SECTOR, "<b>3050</b>", CELL), refused("column sector33_code has 1 texts that it must not have")),
    Case("a formula in a sector", text(SECTOR, "=1+1", CELL), refused("column sector33_code has 1 texts that it must not have")),
    Case("a sector of 12 MB", text(SECTOR, "3" * 12_000_000, session(0) & of_unwanted()), refused("a text of 12000000 bytes")),
    Case("sectors as string_view", column_as(SECTOR, pa.string_view()), same()),
    Case("sectors as numbers", column_as(SECTOR, pa.int64()), same()),
    Case("no sectors", without_columns(SECTOR), told("sector")),
    Case("sectors null in the whole file", nulled((SECTOR,)), told("sector")),
    Case("sector null of one stock that would be bought", nulled((SECTOR,), of_bought()), told("sector")),
    Case("sector null on one day", nulled((SECTOR,), session(3)), same()),
)  # fmt: skip
