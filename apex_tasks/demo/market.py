"""Write the synthetic market as files that look like real ones and say that they are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from apex_tasks.dataset.price_features import compute_price_features
from apex_tasks.dataset.price_features.origin import ORIGIN_KEY, PRICES_ORIGIN
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.demo.defaults import DEFAULT_END, DEFAULT_SEED, DEFAULT_SESSIONS, DEFAULT_STOCKS
from apex_tasks.demo.price_paths import SyntheticMarket, simulate_market
from apex_tasks.demo.signals import published_columns
from apex_tasks.refusal import Refusal
from apex_tasks.store import write_file

PRICES_FILE, DATASET_FILE, README_FILE = "prices.parquet", "dataset.parquet", "README.md"
ROWS_PER_GROUP = 1 << 17
NOTICE = "SYNTHETIC data made by `apex demo-data`: no real company, price or return. Not for trading."


@dataclass(frozen=True)
class DemoData:
    """What was written; every row is synthetic.

    Attributes
    ----------
    dataset
        The dataset file: 89 features (the margin pair as alias operands), prices, sectors.
    prices
        The raw price file, None when only the dataset was asked for.
    rows, stocks, sessions
        Rows, distinct codes and sessions of both files.
    first_session, last_session
        Dates of the first and the last session; the last is the as-of session of the demo's month.
    seed
        Seed of the simulation.
    """

    dataset: Path
    prices: Path | None
    rows: int
    stocks: int
    sessions: int
    first_session: date
    last_session: date
    seed: int
    notice: str = NOTICE


def write_demo_data(
    out: Path,
    stocks: int = DEFAULT_STOCKS,
    sessions: int = DEFAULT_SESSIONS,
    seed: int = DEFAULT_SEED,
    end: date = DEFAULT_END,
    progress: ReportProgress | None = None,
) -> DemoData:
    """Simulate a market and write it; the same arguments leave the same bytes.

    Parameters
    ----------
    out
        A folder (made if absent) for `prices.parquet`, `dataset.parquet` and a README, or a name ending in
        `.parquet` for the dataset alone.
    stocks, sessions, seed, end
        See `simulate_market`; 735 sessions are three years.
    progress
        Called with (description, done, total).

    Raises
    ------
    Refusal
        `simulate_market` refuses a size or the end date, or `out` cannot be written.
    """
    report = progress or (lambda description, done, total: None)
    report("Simulating prices", 0, 4)
    market = simulate_market(stocks, sessions, seed, end)
    prices = _price_table(market)
    report("Drawing flows, statements, margins", 1, 4)
    published = published_columns(market, seed)
    with_published = prices
    for name, values in published.items():
        known = values[market.listed]
        with_published = with_published.append_column(name, pa.array(known, mask=np.isnan(known)))
    report("Computing price features", 2, 4)
    dataset = compute_price_features(with_published)
    report("Writing", 3, 4)
    dataset_only = out.suffix == ".parquet"
    folder = out.parent if dataset_only else out
    prices_file = None if dataset_only else folder / PRICES_FILE
    dataset_file = out if dataset_only else folder / DATASET_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if prices_file is not None:
            _write_parquet(prices, prices_file, seed)
            (folder / README_FILE).write_text(_readme(stocks, sessions, seed, end), encoding="utf-8")
        _write_parquet(dataset, dataset_file, seed, {ORIGIN_KEY: PRICES_ORIGIN.encode()})
    except OSError as error:
        raise Refusal(
            "demo data cannot be written",
            expected="a writable folder, or a file name ending in .parquet",
            received=error.strerror or type(error).__name__,
            where=out,
            remedy="Choose another place, or remove what is in the way.",
        ) from None
    report("Writing", 4, 4)
    return DemoData(
        dataset=dataset_file,
        prices=prices_file,
        rows=dataset.num_rows,
        stocks=int(market.listed.any(axis=0).sum()),
        sessions=sessions,
        first_session=market.sessions[0],
        last_session=end,
        seed=seed,
    )


def _price_table(market: SyntheticMarket) -> pa.Table:
    """The rows that exist, sorted by Date, then Code."""
    session, stock = np.nonzero(market.listed)
    days = np.array(market.sessions, dtype="datetime64[D]")
    return pa.table(
        {
            "Date": pa.array(days[session], pa.date32()),
            "Code": pa.array(market.codes[stock].astype(object), pa.string()),
            "sector33_code": pa.array(market.sectors[stock].astype(object), pa.string()),
            "Open": market.open_jpy[market.listed],
            "Close": market.close_jpy[market.listed],
            "AdjustmentClose": market.adjustment_close_jpy[market.listed],
            "Volume": market.volume_shares[market.listed],
            "TurnoverValue": market.turnover_jpy[market.listed],
        }
    )


def _write_parquet(
    table: pa.Table, path: Path, seed: int, names: Mapping[bytes, bytes] = MappingProxyType({})
) -> None:
    label = {b"apex.synthetic": b"true", b"apex.seed": str(seed).encode(), b"apex.notice": NOTICE.encode()}
    labeled = table.replace_schema_metadata({**(table.schema.metadata or {}), **label, **names})

    def write(part: Path) -> None:
        pq.write_table(labeled, part, compression="zstd", row_group_size=ROWS_PER_GROUP)

    write_file(UPath(path), write)


def _readme(stocks: int, sessions: int, seed: int, end: date) -> str:
    return (
        f"{NOTICE}\n\n{stocks} stocks, {sessions} TSE sessions up to {end}, seed {seed}. "
        "The planted signal is described in docs/demo.md of APEX Batch.\n"
    )
