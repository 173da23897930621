"""The tables of docs/features.md, made from the definitions.

`python -m apex_tasks.dataset.price_features.catalogue` prints them.
"""

from __future__ import annotations

import sys

from apex_tasks.dataset.price_features.definitions import LEFT_OUT_FEATURES, PRICE_FEATURES


def computed_table() -> str:
    """Markdown table of the features computed from prices."""
    return _table(
        ("Feature", "Formula", "Unit", "Source columns", "First row"),
        [(f"`{f.name}`", f.formula, f.unit, ", ".join(f.sources), str(f.min_rows)) for f in PRICE_FEATURES],
    )


def left_out_table() -> str:
    """Markdown table of the features that need other data."""
    return _table(("Feature", "What supplies it"), [(f"`{f.name}`", f.supplier) for f in LEFT_OUT_FEATURES])


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ("---",) * len(head), *rows])


if __name__ == "__main__":
    sys.stdout.write(f"{computed_table()}\n\n{left_out_table()}\n")
