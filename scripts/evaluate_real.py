"""Evaluate the product on real prices of US stocks: a bundle of 2007-2011, rank IC and backtests of 2012-2016.

Exit codes: 0 done, or skipped since the data is out of reach; 3 the data is refused.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from local_airflow.console import step
from real_data.fetch import REQUIREMENT, OutOfReach, fetch
from rich.console import Console

from apex_tasks.refusal import Refusal

REPO = Path(__file__).resolve().parents[1]
NOTICE = (
    "Real prices, but for evaluation only: every stock in the data survived until 2016, and 36 of the 89 "
    "features are empty."
)


def main() -> int:
    """Run what the cache has not yet, print what came out; the exit code."""
    arguments = _arguments()
    console = Console(highlight=False)
    try:
        return _evaluate(arguments.cache, arguments.trials, console)
    except Refusal as refusal:
        print(f"REFUSED {refusal}", file=sys.stderr)
        return refusal.exit_code


def _evaluate(cache: Path, trials: bool, console: Console) -> int:
    try:
        sdist = fetch(cache)
    except OutOfReach as reason:
        print(f"SKIPPED: the evaluation on real data needs {REQUIREMENT}, which is out of reach ({reason}).")
        return 0
    # Imported here: a skipped evaluation needs neither pyarrow nor torch.
    from real_data import stages
    from real_data.console_tables import show_differences, show_portfolios, show_rank_ics
    from real_data.portfolios import PORTFOLIOS
    from real_data.training import TRAIN_END

    from apex_tasks.store import Store

    console.print(NOTICE, soft_wrap=True)
    store = Store(cache)
    with step(console, "Prices and features") as running:
        datasets = stages.make_datasets(store, sdist, running.tell)
        running.result = "{stocks} stocks, {sessions} sessions, {first} to {last}".format(**datasets.details)
    if trials:
        return _show_trials(Path(datasets.folder.path) / stages.TRAINING, console)
    with step(console, f"Bundle, up to {TRAIN_END}") as running:
        bundle = stages.make_bundle(store, datasets, running.tell)
        running.result = f"{bundle.details['candidates']:,} windows to draw from"
    with step(console, "Rank IC out of sample") as running:
        judged = stages.make_rank_ics(store, datasets, bundle, running.tell)
        months = stages.read_table_csv(judged, stages.RANK_IC)["as_of"]
        running.result = f"{len(months)} months, {months.min()} to {months.max()}"
    with step(console, "Backtests out of sample") as running:
        played = stages.make_backtests(store, datasets, bundle, judged, running.tell)
        running.result = ", ".join(PORTFOLIOS)
    show_portfolios(console, stages.read_table_csv(played, stages.PERFORMANCE))
    show_differences(console, stages.read_table_csv(played, stages.DIFFERENCES))
    show_rank_ics(console, stages.read_table_csv(played, stages.RANK_IC_SUMMARY))
    results = cache / "results"
    results.mkdir(exist_ok=True)
    for stage in (judged, played):
        for name in stage.manifest.files:
            (results / name).write_bytes(stage.read_bytes(name))
    console.print(f"Files: {results}", soft_wrap=True)
    return 0


def _show_trials(training: Path, console: Console) -> int:
    from real_data.trials import run_trials

    from apex_tasks.dataset.schema import open_dataset

    table = run_trials(open_dataset(training), lambda line: console.print(line, soft_wrap=True))
    console.print(table.sort_values("mean", ascending=False).to_string(index=False))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--cache", type=Path, default=REPO / ".cache" / "real-data", help="folder of download and results"
    )
    parser.add_argument(
        "--trials", action="store_true", help="instead, repeat the choice of the training settings"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
