"""Price rows, checked once and laid out so that every stock is a column of its own rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from apex_tasks.dataset.code_histories import NEW_HISTORY_AFTER_SESSIONS, history_numbers
from apex_tasks.dataset.parquet_reader import is_text
from apex_tasks.dataset.price_features.rolling import Grid
from apex_tasks.dataset.schema import dates_as_days
from apex_tasks.refusal import Refusal

REQUIRED_COLUMNS = ("Date", "Code", "Close", "Volume", "TurnoverValue", "sector33_code")
ADJUSTED_CLOSE = "AdjustmentClose"

_Row = npt.NDArray[np.float64]
_Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PriceRows:
    """A price table in (Date, Code) order and its values as grids `(max_rows, n_stocks)`.

    Row k of column j of a grid is the k-th own row of the j-th stock (codes ascending): a suspension leaves
    no hole, a window of own rows is contiguous, and what lies below a stock's last row is null. A code that
    begins a new history, see `dataset.code_histories`, is another stock from there on.

    Shapes below call the number of columns, one per history, `n_stocks`.

    Attributes
    ----------
    table
        The rows, sorted, `Date` as date32 and `Code` as string; other columns as they came.
    session, cell
        Per table row `(n_rows,)`: number of its session, and its flat position in a grid.
    sector
        Per table row `(n_rows,)`: number of its sector, -1 where the code is null.
    price
        JPY: `AdjustmentClose` where the table has that column, else `Close`; null unless positive and finite.
    volume
        Shares on the basis of `price`, so that a split is no surge; null unless >= 0 and finite, null without
        price.
    value_jpy
        `TurnoverValue` if positive, else Volume * Close.
    """

    table: pa.Table
    n_sessions: int
    n_codes: int
    n_stocks: int
    n_sectors: int
    max_rows: int
    session: _Index
    cell: _Index
    sector: _Index
    price: Grid
    volume: Grid
    value_jpy: Grid
    rows_without_price: int
    rows_without_volume: int
    codes_with_new_history: tuple[str, ...]

    def grid(self, row_values: _Row) -> Grid:
        """Values of the table's rows `(n_rows,)` as a grid, null where a stock has no row."""
        return _as_grid(row_values, self.cell, self.max_rows, self.n_stocks)

    def column(self, grid: Grid) -> _Row:
        """Values of a grid in the order of the table's rows `(n_rows,)`."""
        return grid.ravel()[self.cell]


def read_prices(prices: pa.Table) -> PriceRows:
    """Check a price table and lay it out.

    Raises
    ------
    Refusal
        A column is missing or of a type that would have to be guessed, a key is null, a (Date, Code) pair
        occurs twice, or there are no rows.
    """
    for name in REQUIRED_COLUMNS:
        _require(name, prices)
    prices = _with(prices, "Date", _dates(prices["Date"]))
    prices = _with(prices, "Code", _strings("Code", prices["Code"]))
    if prices.num_rows == 0:
        raise Refusal(
            "price table is empty",
            expected="one row per Date and Code",
            received="0 rows",
            where="price table",
            remedy="Give a file with prices.",
        )
    sessions, session = np.unique(prices["Date"].cast(pa.int32()).to_numpy(), return_inverse=True)
    code, n_codes = _numbered(prices["Code"])
    key = session.astype(np.int64) * n_codes + code
    order = np.argsort(key, kind="stable")
    if not np.array_equal(order, np.arange(len(order))):
        prices, key = prices.take(pa.array(order)), key[order]
    _refuse_duplicates(prices, key)
    session, code = key // n_codes, key % n_codes
    stock, n_stocks = _histories(code, session)
    own_row, max_rows = _own_rows(stock, n_stocks)
    cell = own_row * n_stocks + stock
    sector, n_sectors = _numbered(_sector_strings(prices["sector33_code"]))
    close, volume, turnover = (_numbers(name, prices[name]) for name in ("Close", "Volume", "TurnoverValue"))
    close[~(np.isfinite(close) & (close > 0))] = np.nan
    volume[~(np.isfinite(volume) & (volume >= 0))] = np.nan
    value_jpy = np.where(np.isfinite(turnover) & (turnover > 0), turnover, volume * close)
    price = close
    if ADJUSTED_CLOSE in prices.column_names:
        price = _numbers(ADJUSTED_CLOSE, prices[ADJUSTED_CLOSE])
        price[~(np.isfinite(price) & (price > 0)) | np.isnan(close)] = np.nan
    layout = (cell, max_rows, n_stocks)
    return PriceRows(
        table=prices,
        n_sessions=len(sessions),
        n_codes=n_codes,
        n_stocks=n_stocks,
        n_sectors=n_sectors,
        max_rows=max_rows,
        session=session,
        cell=cell,
        sector=sector,
        price=_as_grid(price, *layout),
        volume=_as_grid(volume * (close / price), *layout),
        value_jpy=_as_grid(value_jpy, *layout),
        rows_without_price=int(np.isnan(price).sum()),
        rows_without_volume=int(np.isnan(volume).sum()),
        codes_with_new_history=_more_than_one(prices, code, stock) if n_stocks > n_codes else (),
    )


def _as_grid(row_values: _Row, cell: _Index, max_rows: int, n_stocks: int) -> Grid:
    grid = np.full(max_rows * n_stocks, np.nan)
    grid[cell] = row_values
    return grid.reshape(max_rows, n_stocks)


def _histories(code: _Index, session: _Index) -> tuple[_Index, int]:
    """Number of each row's stock, ascending by code, then time, and how many there are; rows by session."""
    by_code = np.argsort(code, kind="stable")
    stock = np.empty(len(code), dtype=np.int64)
    stock[by_code] = history_numbers(code[by_code], session[by_code], NEW_HISTORY_AFTER_SESSIONS)
    return stock, int(stock.max()) + 1


def _more_than_one(prices: pa.Table, code: _Index, stock: _Index) -> tuple[str, ...]:
    """The codes that more than one stock has, ascending."""
    _, first = np.unique(stock, return_index=True)
    numbers, histories = np.unique(code[first], return_counts=True)
    again = first[np.isin(code[first], numbers[histories > 1])]
    return tuple(sorted({prices["Code"][int(row)].as_py() for row in again}))


def _own_rows(stock: _Index, n_stocks: int) -> tuple[_Index, int]:
    """Number of each row among the rows of its stock, and the most rows that a stock has."""
    by_stock = np.argsort(stock, kind="stable")
    counts = np.bincount(stock, minlength=n_stocks)
    own_row = np.empty(len(stock), dtype=np.int64)
    own_row[by_stock] = np.arange(len(stock)) - np.repeat(np.cumsum(counts) - counts, counts)
    return own_row, int(counts.max())


def _numbered(texts: pa.ChunkedArray) -> tuple[_Index, int]:
    """Rank of each text among the distinct ones (-1 where null), and how many there are."""
    encoded = texts.combine_chunks().dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order) + 1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    rank[-1] = -1
    return rank[encoded.indices.fill_null(len(order)).to_numpy(zero_copy_only=False)], len(order)


def _require(name: str, prices: pa.Table) -> None:
    if prices.column_names.count(name) != 1:
        raise Refusal(
            f"price table needs exactly one column {name}",
            expected=", ".join(REQUIRED_COLUMNS),
            received=", ".join(prices.column_names),
            where=f"column {name}",
            remedy="Add or rename the column; where a value is unknown it may be null (not Date or Code).",
        )


def _with(prices: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    if column.null_count:
        raise Refusal(
            f"{name} is null in {column.null_count} rows",
            expected="a value in every row",
            received="null",
            where=f"column {name}",
            remedy="Drop or complete these rows.",
        )
    return prices.set_column(prices.column_names.index(name), name, column)


def _dates(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None):
        return pa.chunked_array([pa.array(dates_as_days(column)).cast(pa.date32())])
    # A zoned timestamp at midnight in Tokyo is the day before in UTC: the date would have to be guessed.
    raise Refusal(
        "Date has the wrong type",
        expected="date, or timestamp without a time zone",
        received=kind,
        where="column Date",
        remedy="Convert it to the trading date in Tokyo, e.g. pandas: pd.to_datetime(df['Date']).dt.date.",
    )


def _strings(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not is_text(column.type):
        raise Refusal(
            f"{name} has the wrong type",
            expected="string",
            received=column.type,
            where=f"column {name}",
            remedy=f"Convert it, e.g. pandas: df['{name}'].astype(str); a number loses leading zeros.",
        )
    return column.cast(pa.string())


def _sector_strings(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Sector codes only group rows, so whole numbers serve as well as strings, and all may be null."""
    if pa.types.is_integer(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.string())
    return _strings("sector33_code", column)


def _numbers(name: str, column: pa.ChunkedArray) -> _Row:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise Refusal(
            f"{name} has the wrong type",
            expected="a number",
            received=kind,
            where=f"column {name}",
            remedy=f"Convert it, e.g. pandas: pd.to_numeric(df['{name}']).",
        )
    numbers = column.cast(pa.float64(), safe=False).fill_null(float("nan"))
    return np.array(numbers.to_numpy(), dtype=np.float64)


def _refuse_duplicates(prices: pa.Table, key: _Index) -> None:
    repeated = np.flatnonzero(key[1:] == key[:-1])
    if len(repeated):
        row = int(repeated[0])
        raise Refusal(
            "a stock has two rows on one date",
            expected="one row per Date and Code",
            received=f"{len(repeated)} rows too many",
            where=f"first: Date {prices['Date'][row]}, Code {prices['Code'][row]}",
            remedy="Keep one of the rows; two sources were probably joined.",
        )
