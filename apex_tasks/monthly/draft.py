"""Step draft: what publish would publish, for a person to read before: run.json and the report."""

from __future__ import annotations

import platform
from importlib.metadata import version

import apex_tasks
from apex_tasks.bundle import ResolvedBundle
from apex_tasks.monthly.apply_costs import PLANS, PlanReference, read_plan
from apex_tasks.monthly.build_panel import PanelReference
from apex_tasks.monthly.infer import ScoresReference
from apex_tasks.monthly.request import RunRequest
from apex_tasks.published.portfolio import PORTFOLIOS, REPORT_FILE
from apex_tasks.published.run_document import RUN_FILE, PlanDocument, RunDocument
from apex_tasks.report import render_report
from apex_tasks.store import Artifact, ArtifactReference, Store, canonical_json, content_key

DRAFTS = "drafts"
VERSIONED_LIBRARIES = ("jinja2", "matplotlib", "numpy", "pandas", "pyarrow", "torch")
SETTINGS_OUTSIDE_RESULT = {
    "home",
    "bundle",
    "dataset",
    "approval",
    "approvers",
    "locked",
    "inference",
    "performance",
    "notifications",
    "deadlines",
    "statsd",
    "serve",
}
"""Settings of where a run happens, who is notified or asked and how it is judged later, not of what it computes."""
BUNDLE_FIELDS_OUTSIDE_RESULT = {"source", "folder", "dataset", "signs", "warnings", "left_out"}
"""The same of a resolved bundle, with signs of other horizons, files not read, and warnings: which the month has."""


class DraftReference(ArtifactReference):
    """A draft in the store."""


def draft(
    request: RunRequest,
    bundle: ResolvedBundle,
    panel: PanelReference,
    scores: ScoresReference,
    plan: PlanReference,
    store: Store,
    triggered_by: str,
) -> DraftReference:
    """Describe a plan and render its report, or find both in the store.

    The key covers the plan, all settings and all versions, so that what was read is what is published.

    Parameters
    ----------
    triggered_by
        Who or what started the run; only told where the run has overrides or is off-cycle.
    """
    artifact = store.get(PLANS, plan.key)
    run = _describe_run(request, bundle, panel, scores, plan, read_plan(store, plan), triggered_by)
    key = content_key(run=run.model_dump(mode="json"))
    written = store.find(DRAFTS, key) or _write(run, artifact, store, key)
    return DraftReference(key=key, content_hash=written.content_hash)


def _write(run: RunDocument, plan: Artifact, store: Store, key: str) -> Artifact:
    parent = None if run.parent is None else store.get(PORTFOLIOS, *run.parent.portfolio.split("/"))
    files = {
        RUN_FILE: canonical_json(run.model_dump(mode="json")),
        REPORT_FILE: render_report(run, plan, parent),
    }
    return store.write(DRAFTS, key, files=files)


def _describe_run(
    request: RunRequest,
    bundle: ResolvedBundle,
    panel: PanelReference,
    scores: ScoresReference,
    plan: PlanReference,
    document: PlanDocument,
    triggered_by: str,
) -> RunDocument:
    """All that determines the result: nothing of a usual month depends on when, where or by whom it was computed."""
    return RunDocument.model_validate(
        {
            **document.model_dump(mode="json"),
            "synthetic": bundle.synthetic or panel.synthetic,
            "off_cycle": request.off_cycle,
            "overrides": [override.model_dump(mode="json") for override in request.overrides],
            "triggered_by": triggered_by if request.overrides or request.off_cycle else None,
            "hashes": {
                "bundle": bundle.bundle_sha256,
                "checkpoint": bundle.checkpoint_sha256,
                "features": bundle.feature_hash,
                "panel": panel.content_hash,
                "scores": scores.content_hash,
                "plan": plan.content_hash,
            },
            "bundle": bundle.model_dump(mode="json", exclude=BUNDLE_FIELDS_OUTSIDE_RESULT),
            "settings": request.settings.model_dump(mode="json", exclude=SETTINGS_OUTSIDE_RESULT),
            "versions": {
                "apex-batch": apex_tasks.__version__,
                "python": platform.python_version(),
                **{name: version(name) for name in VERSIONED_LIBRARIES},
            },
        }
    )
