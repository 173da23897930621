"""Measure `apex serve` under 200 concurrent clients, on SYNTHETIC data and a bundle of production's shape.

The weights are random: how long scoring takes does not depend on them. Server and clients share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np
import torch
from bench_panel import write_dataset
from rich.console import Console
from rich.table import Table
from served_apex import ServedApex

from apex_tasks.dataset.keys import scan_keys
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.model.bundle_export import production_shape, seal_bundle
from apex_tasks.model.patchtst import PatchTSTRanker
from apex_tasks.model.training import TrainingResult, TrainingSettings

LAST_DAY = dt.date.max
NOTICE = "SYNTHETIC: random weights, to measure a server. Not for trading."
TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class Round:
    """Latencies of one round of requests, seconds, and what was not answered with 200."""

    name: str
    seconds: Sequence[float]
    elapsed: float
    errors: int

    def percentile(self, share: float) -> float:
        """Latency in milliseconds below which a share of the requests was answered."""
        return float(np.quantile(self.seconds, share)) * 1000


def main() -> None:
    """Make the data, run the rounds, print a table."""
    arguments = _arguments()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="apex-bench-") as name:
        folder = Path(name)
        with console.status("Making synthetic data and a bundle"):
            rows = write_dataset(folder / "dataset.parquet", arguments.stocks, arguments.sessions)
            write_random_bundle(folder / "bundle", folder / "dataset.parquet")
        console.print(
            f"SYNTHETIC: {arguments.stocks:,} stocks, {arguments.sessions:,} sessions, {rows:,} rows; "
            f"{arguments.clients} concurrent clients, top_k 35"
        )
        rounds = measure(folder, arguments.clients, arguments.rounds, arguments.repeats)
        console.print(_table(rounds))
        if not arguments.without_plain:
            plain = measure_plain(folder)
            warm = statistics.median(one.percentile(0.5) for one in rounds if one.name.startswith("warm"))
            console.print(
                f"Panel built for every request (USE_CACHE=0), one client: {plain:,.1f} s a request; "
                f"from the warm cache {warm:,.1f} ms under {arguments.clients} clients ({plain * 1000 / warm:,.0f} x)"
            )
    if any(one.errors for one in rounds):
        raise SystemExit(1)


def measure(folder: Path, clients: int, rounds: int, repeats: int) -> list[Round]:
    """Cold burst, warm rounds, a restart on the warm disk cache, warm rounds and a steady load."""
    measured = []
    # A collection in the client stops all clients at once, which no server can help.
    gc.collect()
    gc.freeze()
    with _served(folder) as server:
        measured.append(asyncio.run(burst("cold: one build for all", server.url, clients)))
        measured += [asyncio.run(burst("warm", server.url, clients)) for _ in range(rounds)]
    for _ in range(rounds):
        with _served(folder) as server:
            asyncio.run(_ready(server.url))
            measured.append(asyncio.run(burst("restarted: scores from disk", server.url, clients)))
    with _served(folder) as server:
        measured.append(asyncio.run(burst("restarted, not waited for", server.url, clients)))
        name = f"warm, {repeats} each in a row"
        measured.append(asyncio.run(burst(name, server.url, clients, repeats=repeats)))
    return measured


def measure_plain(folder: Path) -> float:
    """Seconds of a request when the panel is built for it."""
    with _served(folder, USE_CACHE="0") as server:
        asyncio.run(_ready(server.url))
        return asyncio.run(burst("plain", server.url, 1)).seconds[0]


def write_random_bundle(out: Path, dataset: Path) -> None:
    """Seal random weights of production's shape."""
    torch.manual_seed(0)
    shape, file = production_shape(), open_dataset(dataset)
    weights = {name: tensor.detach() for name, tensor in PatchTSTRanker(shape).state_dict().items()}
    seal_bundle(
        out,
        TrainingResult(weights, np.zeros(0, dtype=np.float32), 0),
        shape=shape,
        settings=TrainingSettings(samples=1),
        dataset=file,
        keys=scan_keys(file, LAST_DAY),
        bundle_version="bench",
        config_version="bench",
        notice=NOTICE,
        marks={"synthetic": True},
        training={},
    )


async def burst(name: str, url: str, clients: int, repeats: int = 1) -> Round:
    """All clients ask at the same moment, each on a connection of its own."""
    seconds: list[float] = []
    errors = 0
    query = json.dumps({"horizon": 20, "top_k": 35}).encode()
    headers = {"Content-Type": "application/json"}
    start = asyncio.Event()

    async def ask(session: aiohttp.ClientSession) -> None:
        nonlocal errors
        await start.wait()
        for _ in range(repeats):
            began = time.perf_counter()
            async with session.post(f"{url}/predict", data=query, headers=headers) as answer:
                body = await answer.read()
                errors += answer.status != 200 or b'"predictions":[{"rank":1,' not in body
            seconds.append(time.perf_counter() - began)

    connections = aiohttp.TCPConnector(limit=0)
    patience = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(connector=connections, timeout=patience) as session:
        asking = [asyncio.create_task(ask(session)) for _ in range(clients)]
        await asyncio.sleep(0)
        began = time.perf_counter()
        start.set()
        await asyncio.gather(*asking)
        return Round(name, seconds, time.perf_counter() - began, errors)


async def _ready(url: str) -> None:
    """Wait until bundle and dataset are checked, as a load balancer would."""
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}/health") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.1)


def _served(folder: Path, **environment: str) -> ServedApex:
    return ServedApex(
        folder / "log",
        "--dataset",
        folder / "dataset.parquet",
        "--model",
        folder / "bundle",
        "--cache-dir",
        folder / "cache",
        environment={
            "APEX_SERVE__RATE_LIMIT": "1000000/minute",
            "APEX_SERVE__REQUEST_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
            "APEX_HOME": str(folder / "home"),
            **environment,
        },
    )


def _table(rounds: Sequence[Round]) -> Table:
    table = Table("round", "requests", "p50 ms", "p95 ms", "max ms", "requests/s", "errors")
    for one in rounds:
        table.add_row(
            one.name,
            f"{len(one.seconds):,}",
            *(f"{one.percentile(share):,.0f}" for share in (0.5, 0.95, 1.0)),
            f"{len(one.seconds) / one.elapsed:,.0f}",
            str(one.errors),
        )
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stocks", type=int, default=3_863)
    parser.add_argument("--sessions", type=int, default=190)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3, help="warm rounds, and restarts")
    parser.add_argument("--repeats", type=int, default=20, help="requests in a row under steady load")
    parser.add_argument("--without-plain", action="store_true", help="leave out the comparison")
    return parser.parse_args()


if __name__ == "__main__":
    main()
