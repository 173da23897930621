"""Publish: once, whole, for good; safe to kill, to repeat and to race."""

from __future__ import annotations

import datetime as dt
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

import apex_tasks.monthly.draft as draft_step
import apex_tasks.monthly.publish as publish_step
from apex_tasks.monthly.publish import PublishReference
from apex_tasks.monthly.run import MonthlyRun
from apex_tasks.published import audit
from apex_tasks.published.portfolio import latest_version, published_dates, version_numbers
from apex_tasks.published.run_document import ExecutionDocument
from apex_tasks.refusal import Refusal
from apex_tasks.settings import load_settings
from apex_tasks.store import Store
from tests.support.faults import failures, kills
from tests.support.small_market import (
    AUGUST,
    JULY,
    SmallMarket,
    month,
    portfolio,
    published_bytes,
    run,
    run_chain,
)

PUBLISHED_FILES = {
    "scores.parquet",
    "portfolio.csv",
    "orders.csv",
    "book.json",
    "history.json",
    "run.json",
    "report.html",
    "execution.json",
    "manifest.json",
}
RESULTS = ("scores.parquet", "portfolio.csv", "orders.csv", "book.json")


@dataclass(frozen=True)
class Planned:
    """A month that only waits to be published."""

    run: MonthlyRun
    steps: Any

    @property
    def home(self) -> Path:
        return Path(self.run.store.root)

    def publish(self) -> PublishReference:
        _, panel, scores, plan = self.steps
        return self.run.publish(panel, scores, plan, self.run.draft(*self.steps))


def plan_month(market: SmallMarket, home: Path, day: dt.date = JULY, **given: Any) -> Planned:
    run_ = month(market, home, day, cold_start=day == JULY, **given)
    handshake = run_.validate_bundle()
    panel = run_.build_panel(handshake)
    scores = run_.infer(handshake, panel)
    return Planned(run_, (handshake, panel, scores, run_.apply_costs(handshake, panel, scores)))


@pytest.fixture(scope="module")
def template(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> Planned:
    return plan_month(market, tmp_path_factory.mktemp("template"))


@pytest.fixture
def planned(template: Planned) -> Iterator[Planned]:
    """The planned month in a home where nothing is published."""
    clear(template.home)
    yield template
    clear(template.home)


def clear(home: Path) -> None:
    for part in ("drafts", "portfolio", "audit"):
        shutil.rmtree(home / part, ignore_errors=True)


@pytest.fixture
def frozen_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One and the same moment everywhere, so that all bytes compare; no report and no waiting for the disk."""
    clock = SimpleNamespace(now=lambda _: dt.datetime(2025, 7, 1, tzinfo=dt.UTC))
    for module in (publish_step, audit):
        monkeypatch.setattr(module, "dt", SimpleNamespace(datetime=clock, UTC=dt.UTC))
    monkeypatch.setattr(draft_step, "render_report", lambda run, plan, parent: b"<html></html>")
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def moments(home: Path) -> dict[str, int]:
    return {
        str(path): path.stat().st_mtime_ns
        for part in ("portfolio", "audit")
        for path in (home / part).rglob("*")
    }


def test_a_published_folder_holds_its_files_and_one_record(planned: Planned) -> None:
    reference = planned.publish()
    assert reference.portfolio == "2025-07-01/v1"
    assert reference.already_published is False
    folder = Path(reference.folder)
    assert {path.name for path in folder.iterdir()} == PUBLISHED_FILES
    store = planned.run.store
    (record,) = audit.records(store)
    assert record.event == "published"
    assert record.details == {
        "portfolio": "2025-07-01/v1",
        "content_hash": reference.content_hash,
        "manifest_sha256": portfolio(planned.home, JULY).manifest_sha256,
        "parent": None,
        "run_id": "test__2025-07-01",
        "republish_reason": None,
    }
    assert audit.verify(store).problems == ()
    assert published_dates(store) == [JULY]


def test_publishing_again_writes_nothing(planned: Planned) -> None:
    first = planned.publish()
    bytes_before, moments_before = published_bytes(planned.home), moments(planned.home)
    time.sleep(0.01)
    again = Planned(replace(planned.run, run_id="another"), planned.steps).publish()
    assert again == first.model_copy(update={"already_published": True})
    assert published_bytes(planned.home) == bytes_before
    assert moments(planned.home) == moments_before


def other_result(market: SmallMarket, planned: Planned, **given: Any) -> Planned:
    return plan_month(market, planned.home, top_k=36, **given)


def test_a_different_result_is_refused_by_the_names_of_the_files(
    market: SmallMarket, planned: Planned
) -> None:
    planned.publish()
    before = published_bytes(planned.home)
    with pytest.raises(Refusal) as refused:
        other_result(market, planned).publish()
    assert str(refused.value).startswith("2025-07-01 is published already, with a different result")
    assert refused.value.expected == "the content of 2025-07-01/v1"
    assert refused.value.received == "different portfolio.csv, orders.csv, book.json"
    assert "republish_reason" in refused.value.remedy
    assert published_bytes(planned.home) == before


def test_a_reason_makes_the_next_version_and_leaves_the_first(market: SmallMarket, planned: Planned) -> None:
    planned.publish()
    before = published_bytes(planned.home)
    changed = other_result(market, planned, republish_reason="one name more")
    reference = changed.publish()
    assert reference.portfolio == "2025-07-01/v2"
    after = published_bytes(planned.home)
    assert {name: after[name] for name in before if name.startswith("portfolio")} == {
        name: data for name, data in before.items() if name.startswith("portfolio")
    }
    assert after["audit/trail.jsonl"].startswith(before["audit/trail.jsonl"])
    store = planned.run.store
    reasons = [record.details["republish_reason"] for record in audit.records(store)]
    assert reasons == [None, "one name more"]
    assert audit.verify(store).problems == ()
    latest = latest_version(store, JULY)
    assert latest is not None
    assert latest.version == 2
    assert changed.publish().already_published
    assert version_numbers(store, JULY) == [1, 2]


def test_a_reason_without_a_difference_makes_no_version(market: SmallMarket, planned: Planned) -> None:
    planned.publish()
    assert plan_month(market, planned.home, republish_reason="just so").publish().already_published
    assert version_numbers(planned.run.store, JULY) == [1]


def test_a_plan_that_was_changed_is_not_published(planned: Planned) -> None:
    book = planned.home / "plans" / planned.steps[-1].key / "book.json"
    original = book.read_bytes()
    book.write_bytes(original.replace(b"2025-07-01", b"2025-07-02"))
    try:
        with pytest.raises(Refusal, match=r"changed after it was written.*book\.json"):
            planned.publish()
    finally:
        book.write_bytes(original)
    assert published_bytes(planned.home) == {}


@pytest.mark.slow
@pytest.mark.usefixtures("frozen_time")
@pytest.mark.parametrize("strike", [failures, kills])
def test_a_fault_anywhere_leaves_all_or_nothing_and_a_retry_heals_it(
    planned: Planned, strike: Callable[..., Iterator[int]]
) -> None:
    planned.publish()
    whole = published_bytes(planned.home)
    store = planned.run.store
    clear(planned.home)
    seen = set()
    for _ in strike(planned.publish):
        found, records = latest_version(store, JULY), audit.records(store)
        seen.add((found is not None, len(records)))
        if found is not None:
            assert {name: found.artifact.read_bytes(name) for name in found.artifact.manifest.files}
            assert found.artifact.manifest.files.keys() == PUBLISHED_FILES - {"manifest.json"}
        for problem in audit.verify(store).problems:
            assert problem == "portfolio 2025-07-01/v1 has no audit record; run its publish step again"
        assert planned.publish().already_published is (found is not None)
        assert published_bytes(planned.home) == whole
        assert audit.verify(store) == audit.AuditReport(1, ())
        clear(planned.home)
    assert seen == {(False, 0), (True, 0), (True, 1)}, "the faults reached every stage"


@pytest.mark.slow
@pytest.mark.usefixtures("frozen_time")
def test_a_fault_in_a_second_version_never_touches_the_first(market: SmallMarket, planned: Planned) -> None:
    planned.publish()
    first = published_bytes(planned.home)
    second = other_result(market, planned, republish_reason="one name more")
    second.publish()
    whole = published_bytes(planned.home)
    store = planned.run.store

    def back_to_the_first() -> None:
        shutil.rmtree(planned.home / "portfolio" / "2025-07-01" / "v2", ignore_errors=True)
        (planned.home / "audit" / "trail.jsonl").write_bytes(first["audit/trail.jsonl"])

    back_to_the_first()
    for _ in failures(second.publish):
        now = published_bytes(planned.home)
        assert all(now[name] == data for name, data in first.items() if name.startswith("portfolio"))
        latest = latest_version(store, JULY)
        assert latest is not None
        assert (latest.version == 2) is ("portfolio/2025-07-01/v2/manifest.json" in now)
        second.publish()
        assert published_bytes(planned.home) == whole
        back_to_the_first()


def test_two_processes_publish_one_version_and_one_record(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = multiprocessing.get_context("fork")
    together, writers = fork.Barrier(2), fork.Value("i", 0)

    def slow_execution(*arguments: Any) -> ExecutionDocument:
        with writers.get_lock():
            writers.value += 1
        time.sleep(0.5)  # holds the door open for the other process, were there no lock
        return execution(*arguments)

    execution = publish_step._execution
    monkeypatch.setattr(publish_step, "_execution", slow_execution)

    def publish_together() -> None:
        together.wait(30)
        planned.publish()

    processes = [fork.Process(target=publish_together) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert writers.value == 1, "the second one found the first one's portfolio"
    assert version_numbers(planned.run.store, JULY) == [1]
    assert audit.verify(planned.run.store) == audit.AuditReport(1, ())


def test_two_homes_and_two_datasets_give_the_same_bytes_but_for_execution_json(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    elsewhere = SmallMarket(
        Path(shutil.copy(market.dataset, tmp_path / "same data, other name.parquet")),
        Path(shutil.copytree(market.bundle, tmp_path / "same bundle")),
    )
    home = tmp_path / "another home"
    run_chain(elsewhere, home, (JULY, AUGUST))
    one, other = published_bytes(chain), published_bytes(home)
    compared = 0
    for name, data in other.items():
        if name.endswith(("execution.json", "trail.jsonl")):
            continue
        if name.endswith("manifest.json"):
            assert without_execution(one[name]) == without_execution(data)
        else:
            assert one[name] == data, name
        compared += 1
    assert compared == 2 * 8


def without_execution(manifest: bytes) -> dict[str, Any]:
    """A manifest lists execution.json too, whose hash differs."""
    document = json.loads(manifest)
    del document["files"]["execution.json"]
    return document


def test_published_files_name_no_place_and_no_time(market: SmallMarket, planned: Planned) -> None:
    planned.publish()
    published = portfolio(planned.home, JULY)
    today = dt.datetime.now(dt.UTC).date()
    places = [str(planned.home), str(market.bundle), str(market.dataset), str(Path.home()), str(today)]
    for name in PUBLISHED_FILES - {"execution.json", "manifest.json"}:
        for place in places:
            assert place.encode() not in published.read_bytes(name), (name, place)
    execution = published.read_json("execution.json")
    assert execution["dataset"]["file"] == str(market.dataset)
    assert execution["bundle"] == str(market.bundle)
    assert execution["run_id"] == "test__2025-07-01"


def test_everything_published_is_forced_to_disk(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    planned.publish()
    assert len(synced) == 2 * (len(PUBLISHED_FILES) + 1), "each file and the trail, each with its folder"


def test_run_json_holds_what_determines_the_result(planned: Planned) -> None:
    planned.publish()
    published = portfolio(planned.home, JULY)
    document = published.read_json("run.json")
    assert document["rebalance_date"] == "2025-07-01"
    assert document["as_of"] == "2025-06-30"
    assert document["parent"] is None
    assert set(document["hashes"]) == {"bundle", "checkpoint", "features", "panel", "scores", "plan"}
    assert (
        set(document["settings"])
        == set(type(load_settings()).model_fields) - draft_step.SETTINGS_OUTSIDE_RESULT
    )
    libraries = {"jinja2", "matplotlib", "numpy", "pandas", "pyarrow", "torch"}
    assert set(document["versions"]) == {"apex-batch", "python", *libraries}
    orders = published.read_bytes("orders.csv").decode().splitlines()
    assert document["metrics"]["trades"] == len(orders) - 1
    assert published.manifest.identity == tuple(sorted(RESULTS))


def test_a_remote_store_publishes_the_same(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    home = f"memory://{tmp_path.name}/home"
    for day in (JULY, AUGUST):
        plan, published = run(market, home, day, cold_start=day == JULY)
        assert published is not None
        assert not published.already_published
    assert plan.parent == "2025-07-01/v1"
    for day in (JULY, AUGUST):
        local, remote = portfolio(chain, day), portfolio(home, day)
        for name in PUBLISHED_FILES - {"execution.json", "manifest.json"}:
            assert remote.read_bytes(name) == local.read_bytes(name)
    _, again = run(market, home, AUGUST)
    assert again is not None
    assert again.already_published
    assert audit.verify(Store(home)) == audit.AuditReport(2, ())


def test_a_rewritten_dataset_with_the_same_content_is_the_same_result(
    market: SmallMarket, planned: Planned, tmp_path: Path
) -> None:
    reference = planned.publish()
    rewritten = tmp_path / "rewritten.parquet"
    pq.write_table(market.table, rewritten, row_group_size=777, compression="zstd")
    again = plan_month(market, planned.home, dataset=str(rewritten)).publish()
    assert again == reference.model_copy(update={"already_published": True})
