"""The smallest run.json that is one, for tests that need no published month."""

from __future__ import annotations

from typing import Any

from apex_tasks.published.run_document import RunDocument

_COUNTS = (
    "apex_selected_count",
    "apex_effective_dim",
    "listed_stocks",
    "eligible_stocks",
    "priced_candidates",
    "pool_size",
    "positions",
    "trades",
    "non_finite_cells",
    "filled_features",
    "dataset_faults",
    "priced_stocks",
    "traded_stocks",
    "first_build",
    "hysteresis",
    "calendar_horizon_days",
)
_FIGURES = (
    "apex_daily_cost_bps",
    "median_rows",
    "filled_share",
    "turnover",
    "cost_jpy",
    "portfolio_value_jpy",
    "cash_after_jpy",
    "score_best",
    "score_worst",
    "score_std",
)
THRESHOLD = {
    "metric": "positions",
    "comparison": "<",
    "bound": 53.0,
    "severity": "CRITICAL",
    "remedy": "Look.",
    "runbook": "few-positions",
}
SAMPLE_RUN: dict[str, Any] = {
    "rebalance_date": "2025-11-04",
    "as_of": "2025-10-31",
    "parent": None,
    "metrics": {
        **dict.fromkeys(_COUNTS, 1),
        **dict.fromkeys(_FIGURES, 0.5),
        "score_rank_correlation": None,
        "bundle_age_days": None,
    },
    "alerts": [],
    "warnings": [],
    "selection": {
        "candidates": [],
        "fallback": False,
        "threshold": None,
        "alpha": None,
        "turnover_unconstrained": 0.0,
        "turnover_of_weights": 0.0,
        "dropped_min_weight": [],
        "dropped_turnover": [],
        "notes": [],
        "score_penalties": {},
        "neutralisation": None,
        "target_weights": {},
    },
    "eligible_by_sector": {},
    "synthetic": False,
    "hashes": {"bundle": "aa", "panel": "bb"},
    "bundle": {
        "bundle_version": "v1",
        "git_tag": None,
        "created": "2025-10-30",
        "plan": {"sources": []},
        "selection": {},
        "performance_benchmarks": {},
    },
    "settings": {
        "schedule": {"nth_session": 1},
        "ranking": {"top_k": 35, "horizon": 20, "normalization": "csz"},
        "portfolio": {"turnover_limit": 0.35},
        "thresholds": [THRESHOLD],
    },
    "versions": {"numpy": "2.0"},
}


def run_document(content: dict[str, Any] | None = None) -> RunDocument:
    """The sample, or a document like it."""
    return RunDocument.model_validate(SAMPLE_RUN if content is None else content)
