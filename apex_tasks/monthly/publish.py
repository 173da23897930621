"""Step publish: the month's immutable folder, its report and its audit record."""

from __future__ import annotations

import datetime as dt
import platform

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.monitoring import alerts
from apex_tasks.monthly.admission import require_newest
from apex_tasks.monthly.apply_costs import PLANS, PlanReference
from apex_tasks.monthly.approval import Decision, require_approval
from apex_tasks.monthly.build_panel import PanelReference
from apex_tasks.monthly.draft import DRAFTS, DraftReference
from apex_tasks.monthly.infer import ScoresReference
from apex_tasks.monthly.request import RunRequest
from apex_tasks.published import audit
from apex_tasks.published.portfolio import (
    HISTORY_FILE,
    PORTFOLIOS,
    REPORT_FILE,
    RESULT_FILES,
    PortfolioDetails,
    PublishedPortfolio,
    latest_of_kind,
    latest_version,
)
from apex_tasks.published.run_document import (
    EXECUTION_FILE,
    RUN_FILE,
    ExecutedDataset,
    ExecutionDocument,
    ParentPortfolio,
    RunDocument,
    read_run,
)
from apex_tasks.refusal import Refusal
from apex_tasks.store import Artifact, Store, canonical_json


class PublishReference(FrozenModel):
    """The published month.

    Attributes
    ----------
    portfolio
        `<rebalance date>/v<version>`.
    folder
        Where it is stored.
    content_hash
        Identity of the result.
    already_published
        The same result was there before; nothing was written.
    """

    portfolio: str
    folder: str
    content_hash: str
    already_published: bool


def publish(
    request: RunRequest,
    panel: PanelReference,
    scores: ScoresReference,
    plan: PlanReference,
    draft: DraftReference,
    store: Store,
    run_id: str,
) -> PublishReference:
    """Publish a plan as the month's portfolio, with the run.json and the report of its draft.

    Publishing the same result again changes nothing. A different result for a published month needs a
    `republish_reason` and becomes the next version; no version is ever changed.

    Raises
    ------
    Refusal
        The draft is of another plan, the month is published with a different result or a later one is published and
        no reason is given, or the run asks for an approval and there is none of exactly this plan and draft.
    """
    artifact = store.get(PLANS, plan.key)
    results = {name: artifact.read_bytes(name) for name in RESULT_FILES}
    drafted = store.get(DRAFTS, draft.key)
    run = read_run(drafted)
    if run.hashes["plan"] != plan.content_hash or drafted.content_hash != draft.content_hash:
        raise _other_draft(drafted, run, plan, draft)
    parent = run.parent
    with store.lock("publish"):
        same = find_published(request, plan, store)
        if same is not None:
            _record(store, same, parent, run_id, request.republish_reason)
            return _reference(same, already_published=True)
        require_newest(request, store)
        audit.records(
            store
        )  # a trail that cannot be read takes no record: refused before anything is written
        approval = require_approval(store, plan, draft, run_id) if request.approval else None
        latest = latest_version(store, request.rebalance_date)
        number = 1 if latest is None else latest.version + 1
        written = store.write(
            PORTFOLIOS,
            str(request.rebalance_date),
            f"v{number}",
            files={
                **results,
                HISTORY_FILE: artifact.read_bytes(HISTORY_FILE),
                **{name: drafted.read_bytes(name) for name in (RUN_FILE, REPORT_FILE)},
                EXECUTION_FILE: canonical_json(
                    _execution(request, panel, scores, run_id, approval).model_dump(mode="json")
                ),
            },
            details=PortfolioDetails(
                rebalance_date=request.rebalance_date, as_of=request.as_of, off_cycle=request.off_cycle
            ).model_dump(mode="json", exclude_none=True),
            identity=RESULT_FILES,
            durable=True,
        )
        portfolio = PublishedPortfolio(request.rebalance_date, number, written)
        _record(store, portfolio, parent, run_id, request.republish_reason)
    return _reference(portfolio, already_published=False)


def find_published(request: RunRequest, plan: PlanReference, store: Store) -> PublishedPortfolio | None:
    """The month as it is published when that is what the plan holds; None when the plan may be published.

    Raises
    ------
    Refusal
        The month is published with a different result and no reason is given.
    """
    latest = latest_of_kind(store, request.rebalance_date, off_cycle=request.off_cycle is not None)
    if latest is None:
        return None
    artifact = store.get(PLANS, plan.key)
    sha256_by_name = {name: artifact.sha256(name) for name in RESULT_FILES}
    if _holds(latest, sha256_by_name):
        return latest
    if not request.republish_reason:
        raise _different_result(latest, sha256_by_name)
    return None


def _holds(portfolio: PublishedPortfolio, sha256_by_name: dict[str, str]) -> bool:
    return all(portfolio.artifact.sha256(name) == sha256 for name, sha256 in sha256_by_name.items())


def _record(
    store: Store,
    portfolio: PublishedPortfolio,
    parent: ParentPortfolio | None,
    run_id: str,
    reason: str | None,
) -> None:
    """Add the audit record of a publication once, also when a kill came between manifest and record."""
    if any(recorded.portfolio == portfolio.name for recorded in audit.publications(store)):
        return
    publication = audit.Publication(
        portfolio=portfolio.name,
        content_hash=portfolio.content_hash,
        manifest_sha256=portfolio.artifact.manifest_sha256,
        parent=parent,
        run_id=run_id,
        republish_reason=reason,
    )
    audit.append(store, audit.PUBLISHED, publication.model_dump(mode="json"))


def _reference(portfolio: PublishedPortfolio, *, already_published: bool) -> PublishReference:
    return PublishReference(
        portfolio=portfolio.name,
        folder=str(portfolio.artifact.folder),
        content_hash=portfolio.content_hash,
        already_published=already_published,
    )


def _different_result(latest: PublishedPortfolio, sha256_by_name: dict[str, str]) -> Refusal:
    different = [name for name, sha256 in sha256_by_name.items() if latest.artifact.sha256(name) != sha256]
    return Refusal(
        f"{latest.rebalance_date} is published already, with a different result",
        expected=f"the content of {latest.name}",
        received=f"different {', '.join(different)}",
        where=latest.artifact.folder,
        remedy="Find out which input changed (compare run.json); to publish the new result beside the old one, "
        "trigger the run with republish_reason.",
    )


def _other_draft(drafted: Artifact, run: RunDocument, plan: PlanReference, draft: DraftReference) -> Refusal:
    return Refusal(
        "the draft is not that of the plan, nothing is published",
        expected=f"draft {draft.content_hash} of plan {plan.content_hash}",
        received=f"draft {drafted.content_hash} of plan {run.hashes['plan']}",
        where=drafted.folder,
        remedy="Clear the task approval, which drafts again, and then publish.",
    )


def _execution(
    request: RunRequest,
    panel: PanelReference,
    scores: ScoresReference,
    run_id: str,
    approval: Decision | None,
) -> ExecutionDocument:
    return ExecutionDocument(
        published_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        run_id=run_id,
        host=platform.node(),
        bundle=request.bundle,
        dataset=ExecutedDataset(file=request.dataset, sha256=panel.dataset_sha256),
        panel_cached=panel.cached,
        scores_cached=scores.cached,
        apex_inference_latency_ms=scores.latency_ms,
        alerts=alerts.evaluate_latency(request.settings.thresholds, scores.latency_ms, cached=scores.cached),
        cold_start=request.cold_start,
        republish_reason=request.republish_reason,
        approval=approval and approval.answer.model_dump(mode="json", exclude={"outcome"}),
    )
