"""Documents of a published month: typed for those who read them, the same bytes for those who wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apex_tasks.published.run_document import (
    PlanDocument,
    RunDocument,
    read_execution,
    read_run,
)
from apex_tasks.refusal import Refusal
from apex_tasks.store import Artifact, Store, canonical_json
from tests.support.run_documents import SAMPLE_RUN, run_document
from tests.support.small_market import AUGUST, JULY, portfolio


@pytest.fixture(scope="module", params=[JULY, AUGUST], ids=["from cash", "after a month"])
def month(chain: Path, request: pytest.FixtureRequest) -> Artifact:
    return portfolio(chain, request.param)


def test_reading_and_writing_again_leaves_the_same_bytes(month: Artifact) -> None:
    run, execution = read_run(month), read_execution(month)
    assert canonical_json(run.model_dump(mode="json")) == month.read_bytes("run.json")
    assert canonical_json(execution.model_dump(mode="json")) == month.read_bytes("execution.json")


def test_a_plan_is_what_its_run_says_of_it(chain: Path, month: Artifact) -> None:
    run = json.loads(month.read_bytes("run.json"))
    plans = Store(chain)
    found = [plans.get("plans", key) for key in plans.names("plans")]
    (plan,) = [one for one in found if one.content_hash == run["hashes"]["plan"]]
    document = PlanDocument.model_validate_json(plan.read_bytes("plan.json"))
    assert document.model_dump(mode="json") == {name: run[name] for name in PlanDocument.model_fields}


def test_fields_of_another_version_are_kept() -> None:
    content = json.loads(json.dumps(SAMPLE_RUN))
    content["later"] = {"a": [1]}
    content["metrics"]["later_metric"] = 7
    content["settings"]["later_section"] = {"b": 2.0}
    document = run_document(content)
    assert document.metrics.by_name()["later_metric"] == 7
    again = RunDocument.model_validate_json(canonical_json(document.model_dump(mode="json")))
    assert again == document
    assert again.model_dump(mode="json")["later"] == {"a": [1]}


LATER_FIELDS = {"dataset_faults", "features_until", "off_cycle", "overrides", "triggered_by"}
"""What months of 1.0.0 lack."""


def test_a_document_of_1_0_0_is_that_of_a_usual_month() -> None:
    document = run_document({name: value for name, value in SAMPLE_RUN.items() if name not in LATER_FIELDS})
    assert (document.off_cycle, document.overrides, document.triggered_by) == (None, (), None)


@pytest.mark.parametrize("missing", sorted(RunDocument.model_fields.keys() - LATER_FIELDS))
def test_a_document_that_lacks_a_field_is_refused_by_its_name(tmp_path: Path, missing: str) -> None:
    content = {name: value for name, value in SAMPLE_RUN.items() if name != missing}
    written = Store(tmp_path).write("portfolio", "x", files={"run.json": canonical_json(content)})
    with pytest.raises(Refusal) as refused:
        read_run(written)
    assert refused.value.received == f"{missing}: Field required"
    assert refused.value.where.endswith("run.json")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    written = Store(tmp_path).write("portfolio", "x", files={"run.json": canonical_json(SAMPLE_RUN)})
    with pytest.raises(Refusal, match="cannot be read"):
        read_execution(written)
    Path(str(written.folder / "run.json")).unlink()
    with pytest.raises(Refusal, match="cannot be read"):
        read_run(written)
