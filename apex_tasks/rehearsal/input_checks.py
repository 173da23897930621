"""Items of the checklist on the bundle, the dataset, and what was rehearsed with them."""

from __future__ import annotations

from typing import Any

import numpy as np

from apex_tasks.bundle.channels import model_init_log
from apex_tasks.bundle.manifest import FileStatus
from apex_tasks.dataset.freshness import check_freshness
from apex_tasks.dataset.judgement.judge import judge_prices
from apex_tasks.dataset.schema import day_from_epoch, open_dataset
from apex_tasks.rehearsal.deployment import Deployment
from apex_tasks.rehearsal.outcome import ItemOutcome, StageVerdict, done, failed, still_open


def bundle_verified(deployment: Deployment) -> ItemOutcome:
    """Every file with a hash in MANIFEST.lock has that hash: the handshake refuses anything else."""
    bundle = deployment.bundle
    verified = [file.path for file in bundle.files if file.status is FileStatus.VERIFIED]
    return done(
        f"{len(verified)} files match MANIFEST.lock ({', '.join(verified)}), bundle_sha256 {bundle.bundle_sha256}"
    )


def manifest_complete(deployment: Deployment) -> ItemOutcome:
    """Nothing in the bundle lacks a hash, and nothing with a hash was left out."""
    bundle = deployment.bundle
    unlisted = [file.path for file in bundle.files if file.status is FileStatus.UNLISTED]
    gaps = [f"in the bundle without a hash: {', '.join(unlisted)}"] if unlisted else []
    if bundle.not_shipped:
        gaps.append(f"hashed but not in the bundle, so not checked: {', '.join(bundle.not_shipped)}")
    return still_open("; ".join(gaps)) if gaps else done(f"all {len(bundle.files)} files of the bundle")


def behaves_as_expected(deployment: Deployment) -> ItemOutcome:
    """The manifest's expected_behavior against settings, checkpoint and rehearsed months."""
    expected = deployment.bundle.expected_behavior
    seen = _seen_behaviour(deployment)
    compared = {name: value for name, value in expected.items() if name in seen}
    wrong = [
        f"{name} {value} expected, {seen[name]} here"
        for name, value in compared.items()
        if value != seen[name]
    ]
    if wrong:
        return failed("; ".join(wrong))
    unseen = [f"{name} {value}" for name, value in expected.items() if name not in seen]
    met = ", ".join(f"{name} {value}" for name, value in compared.items())
    if unseen or not compared:
        return still_open(
            f"not looked at: {', '.join(unseen) or 'the manifest expects nothing'}; met: {met or 'none'}"
        )
    return done(met)


def smoke_tested(deployment: Deployment) -> ItemOutcome:
    """Outcome of the smoke test."""
    smoke = deployment.smoke
    if smoke is None:
        return still_open("not run")
    return done(smoke.summary) if smoke.verdict is StageVerdict.PASSED else failed(smoke.summary)


def months_rehearsed(deployment: Deployment) -> ItemOutcome:
    """Outcome of the monthly rehearsal."""
    months = deployment.months
    if months is None:
        return still_open("not run")
    if months.verdict is StageVerdict.FAILED:
        return failed(months.summary)
    if len(months.expected) < months.requested:
        first = day_from_epoch(deployment.keys.days.min())
        return still_open(
            f"{months.summary}; {months.requested} were asked for, but the dataset begins on {first} and a window "
            f"needs {deployment.bundle.lookback} sessions"
        )
    return done(months.summary)


def dataset_fresh(deployment: Deployment) -> ItemOutcome:
    """The as-of session of the next scheduled run is complete, and the dataset sound."""
    rebalance = deployment.next_rebalance
    as_of = deployment.calendar.as_of(rebalance)
    dataset = open_dataset(deployment.request.dataset)
    freshness = check_freshness(dataset, as_of, deployment.request.settings.freshness)
    evidence = f"rebalance {rebalance}, as-of {as_of}: "
    if not freshness.rows:
        due = "due" if as_of < deployment.request.today else "not yet due"
        return still_open(f"{evidence}no rows, {due}; the last date is {freshness.last_day}")
    evidence += f"{freshness.rows} rows, trailing median {freshness.median_rows:g}"
    least = f", at least {freshness.min_row_ratio:.0%} of it needed"
    if not freshness.ready:
        return still_open(evidence + least)
    judgement = judge_prices(
        dataset, as_of, deployment.request.settings, deployment.calendar, deployment.bundle.lookback
    )
    if judgement.stopping:
        return failed(f"{evidence}; {'; '.join(str(fault) for fault in judgement.stopping)}")
    told = f"; told: {'; '.join(judgement.warnings)}" if judgement.warnings else ""
    return done(evidence + told)


def dataset_covers_lookback(deployment: Deployment) -> ItemOutcome:
    """Enough stocks have a full window on the newest session."""
    keys, bundle = deployment.keys, deployment.bundle
    days = np.unique(keys.days)
    newest = keys.days == days[-1]
    full = int((newest & (keys.age >= bundle.lookback - 1)).sum())
    evidence = (
        f"{len(days)} sessions from {day_from_epoch(days[0])} to {day_from_epoch(days[-1])}; on the last, {full} of "
        f"{int(newest.sum())} stocks have {bundle.lookback} rows, at least {bundle.min_stocks_per_day} needed"
    )
    return done(evidence) if full >= bundle.min_stocks_per_day else failed(evidence)


def _seen_behaviour(deployment: Deployment) -> dict[str, Any]:
    """What this deployment shows, by the manifest's names."""
    bundle, ranking = deployment.bundle, deployment.request.settings.ranking
    claimed = str(bundle.expected_behavior.get("model_init_log", "")).strip()
    lines = [model_init_log(bundle.n_features, multiplier) for multiplier in (None, bundle.patch_multiplier)]
    seen: dict[str, Any] = {
        # v0.1.0 printed `auto`, or the number that auto gives: the same model.
        "model_init_log": claimed if claimed in lines else lines[0],
        "effective_dim": bundle.effective_dim,
        "rebalance_freq": "monthly",
        "top_k": ranking.top_k,
        "horizon": ranking.horizon,
    }
    if deployment.months is not None:
        kept = sorted({month.candidate_kept for month in deployment.months.months})
        seen["candidate_kept"] = kept[0] if len(kept) == 1 else kept
    return seen
