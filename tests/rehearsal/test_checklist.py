"""The deployment checklist: every item can be done, and can be open or failed; each says on what evidence."""

from __future__ import annotations

import datetime as dt
import shutil
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from filelock import FileLock

from apex_tasks.dataset.schema import open_dataset
from apex_tasks.market.calendar import LAST_DAY, TseCalendar
from apex_tasks.monthly.validate_bundle import validate_bundle
from apex_tasks.rehearsal import operation_checks, store_checks
from apex_tasks.rehearsal.checklist import CHECKLIST, Item, failures, run_checklist
from apex_tasks.rehearsal.deployment import Deployment, Finding, ItemState, done
from apex_tasks.rehearsal.outcome import StageVerdict
from apex_tasks.rehearsal.replay import MonthlyRehearsal, rehearse_months
from apex_tasks.rehearsal.request import RehearsalRequest
from apex_tasks.rehearsal.smoke_test import SmokeReport, smoke_test
from apex_tasks.settings import ApexSettings
from apex_tasks.store import Store
from tests.support import bundle_factory
from tests.support.small_market import (
    AS_OF,
    AUGUST,
    CALENDAR,
    JULY,
    LAST_SESSION,
    OCTOBER,
    SEPTEMBER,
    SmallMarket,
    home_after,
    run_chain,
    small_settings,
    write_table,
)

pytestmark = pytest.mark.slow

DONE, OPEN, FAILED = ItemState.DONE, ItemState.OPEN, ItemState.FAILED
ITEMS = {item.title: item for item in CHECKLIST}
Deploy = Callable[..., Deployment]


@pytest.fixture(scope="module")
def tried(
    market: SmallMarket, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SmokeReport, MonthlyRehearsal]:
    settings = small_settings(tmp_path_factory.mktemp("tried"))
    request = RehearsalRequest(
        bundle=str(market.bundle), dataset=str(market.dataset), today=LAST_SESSION, settings=settings
    )
    return smoke_test(request, CALENDAR), rehearse_months(request, CALENDAR)


@pytest.fixture
def deploy(market: SmallMarket, tmp_path: Path, tried: tuple[SmokeReport, MonthlyRehearsal]) -> Deploy:
    """A deployment after its smoke test and rehearsal; `sections` change settings."""

    def make(
        *,
        home: object = None,
        bundle: Path = market.bundle,
        dataset: Path = market.dataset,
        today: dt.date = LAST_SESSION,
        settings: ApexSettings | None = None,
        sections: dict[str, dict[str, Any]] | None = None,
        **given: Any,
    ) -> Deployment:
        settings = settings or small_settings(tmp_path / "home" if home is None else home)
        changes = {
            name: getattr(settings, name).model_copy(update=section)
            for name, section in (sections or {}).items()
        }
        settings = settings.model_copy(update=changes)
        request = RehearsalRequest(bundle=str(bundle), dataset=str(dataset), today=today, settings=settings)
        resolved = validate_bundle(bundle, dataset, settings)
        smoke, months = tried
        given = {"smoke": smoke, "months": months, **given}
        return Deployment(request, resolved, open_dataset(dataset), Store(settings.home), CALENDAR, **given)

    return make


def look(title: str, deployment: Deployment) -> tuple[ItemState, str]:
    (finding,) = run_checklist(deployment, [ITEMS[title]])
    return finding.state, finding.evidence


# --- the list -----------------------------------------------------------------------------------------------


def test_a_new_deployment_has_open_items_and_no_failed_one(deploy: Deploy) -> None:
    findings = run_checklist(deploy())
    assert [finding.title for finding in findings] == list(ITEMS)
    assert {finding.title for finding in findings if finding.state is OPEN} == {
        "Every file has a hash in MANIFEST.lock",
        "Book to start from",
        "Audit trail verified",
        "Somebody is told",
        "Metrics are sent",
    }
    assert failures(findings) == []
    for finding in findings:
        assert len(finding.evidence) > 5
        assert "\n" not in finding.evidence


def test_a_deployment_in_order_has_everything_done(
    deploy: Deploy, market: SmallMarket, tmp_path: Path
) -> None:
    draft = bundle_factory.Draft().all_listed()
    del draft.manifest["dataset"]
    run_chain(market, tmp_path / "home", (AUGUST, SEPTEMBER))
    deployment = deploy(
        bundle=draft.folder(tmp_path / "listed"),
        today=OCTOBER,
        sections={"notifications": {"email_to": ("a@example.com",)}, "statsd": {"host": "127.0.0.1"}},
        connections={"apex_slack": False, "apex_smtp": True},
    )
    findings = run_checklist(deployment)
    assert [f"{f.title}: {f.evidence}" for f in findings if f.state is not DONE] == []


def test_a_check_that_meets_a_refusal_or_a_lost_disk_has_failed(deploy: Deploy, tmp_path: Path) -> None:
    def lost(_: Deployment) -> Any:
        raise OSError(5, "Input/output error")

    (tmp_path / "file").write_text("in the way")
    deployment = deploy(home=tmp_path / "file" / "home")
    items = [
        Item("Lost", lost),
        ITEMS["Store can be written and locked"],
        Item("After", lambda _: done("seen")),
    ]
    first, second, after = run_checklist(deployment, items)
    assert (first.state, first.evidence) == (FAILED, "OSError: [Errno 5] Input/output error")
    assert second.state is FAILED
    assert str(tmp_path / "file") in second.evidence
    assert after == Finding(title="After", state=DONE, evidence="seen")
    assert failures([first, second, after]) == [f"{f.title}: {f.evidence}" for f in (first, second)]


# --- bundle, dataset, rehearsals ----------------------------------------------------------------------------


def test_bundle_verified_names_files_and_hash(deploy: Deploy) -> None:
    deployment = deploy()
    state, evidence = look("Bundle verified", deployment)
    assert state is DONE
    assert bundle_factory.CHECKPOINT in evidence
    assert bundle_factory.CONFIG in evidence
    assert bundle_factory.GROUPS not in evidence
    assert deployment.bundle.bundle_sha256 in evidence


def test_files_without_a_hash_and_hashes_without_a_file_are_open(deploy: Deploy, tmp_path: Path) -> None:
    title = "Every file has a hash in MANIFEST.lock"
    state, evidence = look(title, deploy())
    assert state is OPEN
    unlisted, unshipped = evidence.split("; ")
    assert bundle_factory.GROUPS in unlisted
    assert bundle_factory.ALIASES in unlisted
    assert "output/ml_dataset_latest_clean_with_adv.parquet" in unshipped
    state, evidence = look(title, deploy(bundle=bundle_factory.Draft().all_listed().folder(tmp_path / "b")))
    assert (state, evidence.startswith("hashed but not in the bundle")) == (OPEN, True)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("candidate_kept", 54, "candidate_kept 54 expected, 53 here"),
        ("top_k", 30, "top_k 30 expected, 35 here"),
        ("horizon", 10, "horizon 10 expected, 20 here"),
        ("rebalance_freq", "weekly", "rebalance_freq weekly expected, monthly here"),
    ],
)
def test_other_behaviour_than_the_manifest_expects_fails(
    deploy: Deploy, tmp_path: Path, name: str, value: object, told: str
) -> None:
    draft = bundle_factory.Draft()
    draft.manifest["expected_behavior"][name] = value
    assert look("Expected behaviour of the manifest met", deploy(bundle=draft.folder(tmp_path / "b"))) == (
        FAILED,
        told,
    )


def test_expected_behaviour_is_met_only_as_far_as_it_was_looked_at(deploy: Deploy, tmp_path: Path) -> None:
    title = "Expected behaviour of the manifest met"
    state, evidence = look(title, deploy())
    assert state is DONE
    for part in ("effective_dim 178", "candidate_kept 53", "top_k 35", "horizon 20", bundle_factory.INIT_LOG):
        assert part in evidence
    state, evidence = look(title, deploy(months=None))
    assert state is OPEN
    assert evidence.startswith("not looked at: candidate_kept 53; met: model_init_log")
    draft = bundle_factory.Draft()
    draft.manifest["expected_behavior"]["mood"] = "good"
    assert look(title, deploy(bundle=draft.folder(tmp_path / "mood")))[1].startswith(
        "not looked at: mood good"
    )
    draft.manifest["expected_behavior"] = {}
    assert look(title, deploy(bundle=draft.folder(tmp_path / "none"))) == (
        OPEN,
        "not looked at: the manifest expects nothing; met: none",
    )


def test_the_number_that_auto_gives_is_the_same_model(deploy: Deploy, tmp_path: Path) -> None:
    draft = bundle_factory.Draft()
    draft.manifest["expected_behavior"]["model_init_log"] = bundle_factory.INIT_LOG.replace("auto", "2")
    bundle = draft.folder(tmp_path / "b")
    assert look("Expected behaviour of the manifest met", deploy(bundle=bundle))[0] is DONE


def test_smoke_test_and_rehearsal_are_items(
    deploy: Deploy, tried: tuple[SmokeReport, MonthlyRehearsal]
) -> None:
    smoke, months = tried
    assert look("Smoke test passed", deploy(smoke=None)) == (OPEN, "not run")
    assert look("Months rehearsed", deploy(months=None)) == (OPEN, "not run")
    assert look("Smoke test passed", deploy()) == (DONE, smoke.summary)
    assert look("Months rehearsed", deploy()) == (DONE, months.summary)
    bad = {"verdict": StageVerdict.FAILED, "problems": ("it differs",)}
    assert look("Smoke test passed", deploy(smoke=smoke.model_copy(update=bad)))[0] is FAILED
    assert look("Months rehearsed", deploy(months=months.model_copy(update=bad))) == (FAILED, "it differs")
    fewer = months.model_copy(update={"requested": 4})
    state, evidence = look("Months rehearsed", deploy(months=fewer))
    assert state is OPEN
    assert (
        "4 were asked for, but the dataset begins on 2024-09-18 and a window needs 180 sessions" in evidence
    )


@pytest.mark.parametrize(
    ("today", "state", "told"),
    [
        (OCTOBER, DONE, "rebalance 2025-10-01, as-of 2025-09-30: 120 rows, trailing median 120"),
        (dt.date(2025, 11, 3), DONE, "rebalance 2025-10-01, as-of 2025-09-30"),
        (dt.date(2025, 11, 4), OPEN, "as-of 2025-10-31: no rows, due; the last date is 2025-10-10"),
    ],
)
def test_the_dataset_is_fresh_for_the_next_run_or_awaited(
    deploy: Deploy, today: dt.date, state: ItemState, told: str
) -> None:
    found = look("Dataset fresh for the next run", deploy(today=today))
    assert found[0] is state
    assert told in found[1]


def test_a_half_delivered_session_is_not_fresh(deploy: Deploy, market: SmallMarket, tmp_path: Path) -> None:
    few = sorted(set(market.codes))[:10]
    kept = [
        day != AS_OF[OCTOBER] or code not in few for day, code in zip(market.dates, market.codes, strict=True)
    ]
    dataset = write_table(market.table.filter(pa.array(kept)), tmp_path / "half.parquet")
    state, evidence = look("Dataset fresh for the next run", deploy(dataset=dataset, today=OCTOBER))
    assert state is OPEN
    assert evidence.endswith("110 rows, trailing median 120, at least 95% of it needed")


def test_the_published_month_makes_the_coming_one_next(deploy: Deploy, chain: Path, tmp_path: Path) -> None:
    home = home_after(chain, tmp_path / "published", JULY, AUGUST, SEPTEMBER, OCTOBER)
    assert deploy(today=OCTOBER).next_rebalance == OCTOBER
    assert deploy(today=dt.date(2025, 10, 31)).next_rebalance == OCTOBER
    deployment = deploy(home=home, today=OCTOBER)
    assert deployment.next_rebalance == dt.date(2025, 11, 4)
    state, evidence = look("Dataset fresh for the next run", deployment)
    assert (state, "no rows, not yet due" in evidence) == (OPEN, True)
    grace = {"schedule": {"grace_days": 3}}
    assert deploy(today=dt.date(2025, 10, 4), sections=grace).next_rebalance == OCTOBER
    assert deploy(today=dt.date(2025, 10, 5), sections=grace).next_rebalance == dt.date(2025, 11, 4)


def test_a_dataset_that_reaches_not_far_enough_back_fails(
    deploy: Deploy, market: SmallMarket, tmp_path: Path
) -> None:
    title = "Dataset covers the lookback"
    assert look(title, deploy()) == (
        DONE,
        "260 sessions from 2024-09-18 to 2025-10-10; "
        "on the last, 120 of 120 stocks have 180 rows, at least 80 needed",
    )
    first = sorted(set(market.dates))[-179]
    dataset = write_table(market.table.filter(pa.array(market.dates >= first)), tmp_path / "short.parquet")
    state, evidence = look(title, deploy(dataset=dataset))
    assert state is FAILED
    assert evidence.startswith("179 sessions from ")
    assert "on the last, 0 of 120 stocks have 180 rows" in evidence


# --- the store ----------------------------------------------------------------------------------------------


def test_a_store_is_written_locked_and_left_as_it_was(deploy: Deploy, tmp_path: Path) -> None:
    state, evidence = look("Store can be written and locked", deploy())
    assert (state, evidence) == (DONE, f"{tmp_path / 'home'}: written, read back, locked")
    assert [path.name for path in (tmp_path / "home").iterdir() if path.suffix != ".lock"] == []
    state, evidence = look("Store can be written and locked", deploy(home=f"memory://{tmp_path.name}"))
    assert state is DONE
    assert "a URL has no lock" in evidence
    assert Store(f"memory://{tmp_path.name}").names() == []


def test_a_file_system_without_locks_fails(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a mount that grants every lock."""
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    state, evidence = look("Store can be written and locked", deploy())
    assert state is FAILED
    assert "two processes can hold the same lock" in evidence


def test_a_lock_that_is_held_is_told(deploy: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apex_tasks.store.LOCK_TIMEOUT_SECONDS", 0.1)
    (tmp_path / "home").mkdir()
    with FileLock(tmp_path / "home" / ".rehearsal.lock"):
        state, evidence = look("Store can be written and locked", deploy())
    assert state is FAILED
    assert "another process holds the store's lock" in evidence


def test_a_changed_publication_fails_the_audit(deploy: Deploy, market: SmallMarket, tmp_path: Path) -> None:
    title, home = "Audit trail verified", tmp_path / "home"
    assert look(title, deploy()) == (OPEN, "nothing is published yet, so there is no trail to verify")
    run_chain(market, home, (SEPTEMBER,))
    assert look(title, deploy()) == (DONE, "1 records, every published file as recorded")
    orders = home / "portfolio" / str(SEPTEMBER) / "v1" / "orders.csv"
    orders.write_bytes(orders.read_bytes() + b"\n")
    assert look(title, deploy()) == (FAILED, f"portfolio {SEPTEMBER}/v1: orders.csv was changed")


@pytest.mark.parametrize(("panels", "state"), [(0.5, FAILED), (11.9, OPEN), (12.0, DONE)])
def test_room_is_counted_in_panels(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch, panels: float, state: ItemState
) -> None:
    deployment = deploy()
    assert deployment.panel_bytes == 120 * 180 * 89 * 4
    usage = namedtuple("usage", "total used free")(0, 0, int(panels * deployment.panel_bytes))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert look("Room for a year of panels", deployment)[0] is state


def test_room_of_the_real_disk_and_of_a_url(deploy: Deploy, tmp_path: Path) -> None:
    state, evidence = look("Room for a year of panels", deploy())
    assert state is DONE
    assert f"free at {tmp_path}" in evidence, "the store's folder is not there yet"
    assert look("Room for a year of panels", deploy(home=f"memory://{tmp_path.name}"))[0] is OPEN


def test_the_book_to_start_from_is_named_or_a_cold_start_is_needed(
    deploy: Deploy, chain: Path, tmp_path: Path
) -> None:
    title = "Book to start from"
    assert look(title, deploy(today=OCTOBER)) == (
        OPEN,
        "no portfolio of 2025-09-01, nothing is published: start 2025-10-01 with cold_start",
    )
    stale = home_after(chain, tmp_path / "stale", JULY, AUGUST)
    state, evidence = look(title, deploy(home=stale, today=OCTOBER))
    assert (state, "the last is 2025-08-01/v1" in evidence) == (OPEN, True)
    ready = home_after(chain, tmp_path / "ready", AUGUST, SEPTEMBER)
    assert look(title, deploy(home=ready, today=OCTOBER)) == (DONE, "2025-10-01 starts from 2025-09-01/v1")


# --- settings, calendar, packages, messages -----------------------------------------------------------------


def test_the_settings_in_force_are_named(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("APEX_RANKING__TOP_K", "35")
    monkeypatch.setenv("APEX_METRICS_TOKEN", "secret")
    state, evidence = look("Settings named", deploy())
    assert state is DONE
    assert "configs/apex.yaml (packaged, sha256 " in evidence
    assert evidence.endswith("overridden by APEX_RANKING__TOP_K")
    own = tmp_path / "own.yaml"
    own.write_text("home: elsewhere\n")
    monkeypatch.setenv("APEX_SETTINGS", str(own))
    monkeypatch.delenv("APEX_RANKING__TOP_K")
    _, evidence = look("Settings named", deploy())
    assert evidence.startswith(f"{own} (by APEX_SETTINGS, sha256 ")
    assert evidence.endswith("overridden by no variable")


def test_the_next_run_is_told_in_both_time_zones(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    state, evidence = look("Next run known", deploy(today=OCTOBER))
    assert (state, evidence) == (DONE, "2025-10-01 09:00 JST = 2025-10-01 00:00 UTC, as-of 2025-09-30")
    _, evidence = look("Next run known", deploy(today=dt.date(2025, 10, 2)))
    assert evidence.endswith("not published yet, and due as soon as the DAG is unpaused")
    wrong = dt.timezone(dt.timedelta(hours=8))
    monkeypatch.setattr(
        TseCalendar, "rebalance_instant", lambda _, day: dt.datetime.combine(day, dt.time(9), wrong)
    )
    state, evidence = look("Next run known", deploy(today=OCTOBER))
    assert (state, "+0800 from UTC" in evidence) == (FAILED, True)


def test_a_calendar_that_ends_within_a_year_fails(deploy: Deploy) -> None:
    deployment = deploy()
    state, evidence = look("Calendar reaches far enough", deployment)
    assert (state, "up to 2099-12-31" in evidence) == (DONE, True)
    late = deployment.request.model_copy(update={"today": LAST_DAY - dt.timedelta(days=365)})
    assert look("Calendar reaches far enough", replace(deployment, request=late))[0] is FAILED


def test_packages_are_compared_with_the_constraints(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    title, deployment = "Packages as tested", deploy()
    assert look(title, deployment)[0] is DONE
    monkeypatch.setattr(operation_checks, "configs_folder", lambda: tmp_path / "configs")
    assert look(title, deployment) == (OPEN, f"{tmp_path / 'constraints.txt'} is not there to compare with")
    (tmp_path / "constraints.txt").write_text("# pins\nnumpy==0.1 ; python_version > '3'\nnot-installed==1\n")
    state, evidence = look(title, deployment)
    assert state is OPEN
    assert evidence.startswith("1 packages differ from ")
    assert evidence.endswith(", not 0.1")


def test_thresholds_must_be_there_and_fit_the_bundle(deploy: Deploy) -> None:
    title, deployment = "Alert thresholds set", deploy()
    settings = deployment.request.settings
    state, evidence = look(title, deployment)
    assert (state, "apex_selected_count < 53 CRITICAL" in evidence) == (DONE, True)
    none = deploy(settings=settings.model_copy(update={"thresholds": ()}))
    assert look(title, none)[1].startswith("none on apex_selected_count, apex_effective_dim, apex_inference")
    assert look(title, none)[0] is OPEN
    doubled = tuple(
        threshold.model_copy(update={"bound": 356.0}) if threshold.bound == 178 else threshold
        for threshold in settings.thresholds
    )
    state, evidence = look(title, deploy(settings=settings.model_copy(update={"thresholds": doubled})))
    assert (state, "apex_effective_dim must be 356, the bundle has 178" in evidence) == (FAILED, True)


@pytest.mark.parametrize(
    ("email_to", "connections", "state", "told"),
    [
        ((), None, OPEN, "seen by the DAG apex_rehearsal only"),
        (("a@example.com", "b@example.com"), None, OPEN, "email_to has 2 recipients"),
        ((), {"apex_slack": False, "apex_smtp": True}, OPEN, "nobody would be told"),
        (("a@example.com",), {"apex_slack": False, "apex_smtp": False}, OPEN, "nobody would be told"),
        (("a@example.com",), {"apex_slack": False, "apex_smtp": True}, DONE, "connection apex_smtp defined"),
        ((), {"apex_slack": True, "apex_smtp": False}, DONE, "connection apex_slack defined"),
    ],
)
def test_somebody_is_told_when_one_channel_is_whole(
    deploy: Deploy,
    email_to: tuple[str, ...],
    connections: dict[str, bool] | None,
    state: ItemState,
    told: str,
) -> None:
    deployment = deploy(sections={"notifications": {"email_to": email_to}}, connections=connections)
    found = look("Somebody is told", deployment)
    assert found[0] is state
    assert told in found[1]


@pytest.mark.parametrize(
    ("host", "state", "told"),
    [
        (None, OPEN, "statsd.host is unset"),
        ("no-such-host.invalid", OPEN, "no-such-host.invalid does not resolve from here"),
        ("127.0.0.1", DONE, "by UDP to 127.0.0.1:8125"),
    ],
)
def test_the_statsd_host_must_resolve(deploy: Deploy, host: str | None, state: ItemState, told: str) -> None:
    found = look("Metrics are sent", deploy(sections={"statsd": {"host": host}}))
    assert found[0] is state
    assert told in found[1]


def test_a_store_that_reads_back_something_else_fails(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = store_checks.write_file
    monkeypatch.setattr(store_checks, "write_file", lambda path, content, **_: write(path, content[:-1]))
    state, evidence = look("Store can be written and locked", deploy())
    assert (state, "reads back as something else" in evidence) == (FAILED, True)
