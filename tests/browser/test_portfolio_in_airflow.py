"""What a person does in the browser, on the real Airflow: trigger, read, approve, compare."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from local_airflow.environment import USER
from local_airflow.processes import EmbeddedAirflow
from playwright.sync_api import Browser, FrameLocator, Page, expect

from apex_tasks.demo.bundle import write_demo_bundle
from apex_tasks.demo.market import write_demo_data
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.monthly.request import resolve_request
from apex_tasks.monthly.run import MonthlyRun, run_month
from apex_tasks.published import audit
from apex_tasks.published.portfolio import latest_version, published_dates
from apex_tasks.settings import load_settings
from apex_tasks.store import Store
from apex_tasks.tables import read_csv
from tests.support.paths import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

DAG_ID = "apex_monthly_rebalance"
CALENDAR = TseCalendar.load()
*PUBLISHED, TRIGGERED = CALENDAR.rebalance_sessions(dt.date(2025, 1, 1), dt.date(2025, 11, 30))
"""Months that are published before Airflow starts, and the one that a person triggers."""
SUNDAY = "2025-11-02"
RUN_MILLISECONDS = 120_000
CHARTS = 6
"""Supply, scores, ranks, sectors, turnover with cost, value with drawdown."""


@dataclass(frozen=True)
class World:
    """Airflow, its store, and a person's logged-in page."""

    airflow: EmbeddedAirflow
    store: Store
    page: Page
    elsewhere: list[str]
    """Addresses asked for that are not on this machine."""

    def go(self, path: str) -> None:
        self.page.goto(f"{self.airflow.url}{path}")

    def frame(self) -> FrameLocator:
        """What our application shows inside Airflow."""
        return self.page.frame_locator("iframe").first

    def report(self) -> FrameLocator:
        """The report inside the tab."""
        return self.frame().frame_locator("iframe")

    def trigger(self, as_of: str, *, approval: bool = False) -> str:
        """Fill in the DAG's form; the id of the run that it started."""
        self.go(f"/dags/{DAG_ID}")
        self.page.get_by_role("button", name="Trigger").first.click()
        form = self.page.get_by_role("dialog")
        form.locator("input[name=element_as_of]").fill(as_of)
        if approval:
            form.locator("label:has(input[name=element_approval])").first.click()
        form.get_by_role("button", name="Trigger", exact=True).click()
        self.page.wait_for_url(re.compile(rf"/dags/{DAG_ID}/runs/"))
        return unquote(urlsplit(self.page.url).path.split("/")[4])

    def open_tab(self, run_id: str) -> None:
        self.go(f"/dags/{DAG_ID}/runs/{run_id}")
        self.page.get_by_role("link", name="Portfolio", exact=True).click()

    def picture(self, folder: Path, name: str) -> None:
        self.page.wait_for_load_state("networkidle")
        self.page.screenshot(path=folder / f"{name}.png")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A synthetic market, and every month but the last published by the plain steps."""
    folder, home = tmp_path_factory.mktemp("inputs"), tmp_path_factory.mktemp("apex_home")
    last = CALENDAR.as_of(TRIGGERED)
    data = write_demo_data(folder / "dataset.parquet", stocks=420, sessions=430, end=last)
    bundle = write_demo_bundle(folder / "bundle", data.dataset, samples=64)
    inputs = {"home": str(home), "bundle": str(bundle.path), "dataset": str(data.dataset)}
    settings = load_settings().model_copy(update=inputs)
    for number, day in enumerate(PUBLISHED):
        request = resolve_request(
            {"as_of": CALENDAR.as_of(day), "cold_start": number == 0},
            moment=CALENDAR.rebalance_instant(day),
            now=CALENDAR.rebalance_instant(day),
            settings=settings,
            calendar=CALENDAR,
        )
        run_month(MonthlyRun(request, Store(home), CALENDAR, f"plain__{day}", log=lambda _: None))
    return {
        **{f"APEX_{name.upper()}": value for name, value in inputs.items()},
        "APEX_FRESHNESS__POKE_INTERVAL_SECONDS": "1",
        "APEX_SCHEDULE__GRACE_DAYS": "0",
    }


@pytest.fixture(scope="module")
def airflow(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedAirflow]:
    home = tmp_path_factory.mktemp("airflow")
    with EmbeddedAirflow(home, ROOT / "dags", ROOT / "plugins", environment) as airflow:
        airflow.wait_healthy(DAG_ID)
        airflow.client.set_paused(DAG_ID, False)
        yield airflow


def _new_page(chromium: Browser) -> Page:
    size = {"width": 1400, "height": 900}
    return chromium.new_context(viewport=size, locale="en-US", timezone_id="Asia/Tokyo").new_page()


@pytest.fixture(scope="module")
def world(environment: dict[str, str], airflow: EmbeddedAirflow, chromium: Browser) -> Iterator[World]:
    """A person who has logged in by Airflow's own form."""
    page, elsewhere = _new_page(chromium), []
    page.context.on("request", lambda request: elsewhere.append(request.url))
    world = World(airflow, Store(environment["APEX_HOME"]), page, elsewhere)
    world.go(f"/dags/{DAG_ID}")
    page.locator("input[name=username]").fill(USER)
    page.locator("input[name=password]").fill(airflow.password)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/dags/{DAG_ID}")
    page.get_by_role("button", name="Trigger").wait_for()
    yield world
    page.context.close()


@pytest.fixture(scope="module")
def refused_run(world: World) -> str:
    """A run that was triggered through the form for a Sunday."""
    run_id = world.trigger(SUNDAY)
    assert world.airflow.client.wait_run(DAG_ID, run_id, RUN_MILLISECONDS / 1000) == "failed"
    return run_id


@dataclass(frozen=True)
class ApprovedRun:
    """A run that waited for a person, who approved it in the browser."""

    run_id: str
    banner_before: str
    draft: str
    published_before: list[dt.date]


@pytest.fixture(scope="module")
def approved_run(world: World, refused_run: str, screenshots: Path) -> ApprovedRun:
    run_id = world.trigger(str(CALENDAR.as_of(TRIGGERED)), approval=True)
    page = world.page
    page.get_by_text("Required Actions").wait_for(timeout=RUN_MILLISECONDS)
    page.wait_for_timeout(
        6_000
    )  # nobody reads a report faster, and Airflow forgets an answer that comes at once
    world.open_tab(run_id)
    banner = world.frame().get_by_role("banner")
    expect(banner).to_contain_text("WAITS FOR APPROVAL")
    before, draft = banner.inner_text(), world.report().locator("body").inner_text()
    published = published_dates(world.store)
    world.picture(screenshots, "draft")
    banner.get_by_role("link", name="Approve or reject").click()
    question = page.get_by_role("dialog")
    question.locator("[name=element_note]").fill("Read and agreed.")
    world.picture(screenshots, "approval")
    question.get_by_role("button", name="Approve").click()
    assert world.airflow.client.wait_run(DAG_ID, run_id, RUN_MILLISECONDS / 1000) == "success"
    return ApprovedRun(run_id, before, draft, published)


def test_without_a_login_nothing_is_shown(
    airflow: EmbeddedAirflow, chromium: Browser, environment: dict[str, str]
) -> None:
    stranger = _new_page(chromium)
    month = f"{PUBLISHED[0]}/v1"
    for path in (
        "/apex/months",
        f"/apex/months/{month}",
        f"/apex/compare?from={month}&to={month}",
        f"/apex/portfolio-files/{month}/report.html",
        f"/apex/portfolio-files/{month}/orders.csv",
        f"/apex/report/{DAG_ID}/anything",
    ):
        answer = stranger.goto(f"{airflow.url}{path}")
        assert answer is not None
        assert answer.status == 401, path
        expect(stranger.locator("body")).to_contain_text("Please log in")
        assert stranger.locator("table").count() == 0
    stranger.get_by_role("link", name="Log in to Airflow").click()
    expect(stranger.locator("input[name=password]")).to_be_visible()
    stranger.context.close()


def test_a_bad_value_in_the_form_publishes_nothing_and_the_tab_says_why(
    world: World, refused_run: str, screenshots: Path
) -> None:
    assert published_dates(world.store) == PUBLISHED
    world.open_tab(refused_run)
    banner = world.frame().get_by_role("banner")
    expect(banner).to_contain_text("NOTHING WAS PUBLISHED")
    expect(banner).to_contain_text("not a session of the Tokyo Stock Exchange")
    expect(banner).to_contain_text(f"received={SUNDAY} (Sunday)")
    expect(banner).to_contain_text("What to do:")
    world.picture(screenshots, "refused")
    banner.get_by_role("link", name="Log of validate_bundle").click()
    world.page.wait_for_url(re.compile(r"/tasks/validate_bundle"))


def test_a_month_waits_for_a_person_and_is_published_once_approved(
    world: World, approved_run: ApprovedRun
) -> None:
    assert "Nothing is published until a person approves it." in approved_run.banner_before
    assert approved_run.published_before == PUBLISHED
    assert f"Portfolio for {TRIGGERED:%a %Y-%m-%d}" in approved_run.draft
    assert published_dates(world.store) == [*PUBLISHED, TRIGGERED]
    approved, published = audit.records(world.store)[-2:]
    assert (approved.event, published.event) == ("approved", "published")
    assert approved.details["by"] == {"id": USER, "name": USER}
    assert approved.details["note"] == "Read and agreed."
    assert approved.details["run_id"] == published.details["run_id"] == approved_run.run_id
    assert audit.verify(world.store).problems == ()


def test_the_tab_shows_the_published_table_and_charts(
    world: World, approved_run: ApprovedRun, screenshots: Path
) -> None:
    world.open_tab(approved_run.run_id)
    banner, report = world.frame().get_by_role("banner"), world.report()
    expect(banner).to_contain_text(f"This run published {TRIGGERED}/v1. Approved by {USER}.")
    portfolio = latest_version(world.store, TRIGGERED)
    assert portfolio is not None
    rows = report.get_by_role("table").filter(has_text="Rank change").locator("tbody tr")
    book = read_csv(portfolio.artifact, "portfolio.csv")
    for number, code in enumerate(book["code"]):
        expect(rows.nth(number).locator("td").first).to_contain_text(code)
    orders = report.get_by_role("table").filter(has_text="Share of ADV").locator("tbody tr")
    assert orders.count() == len(read_csv(portfolio.artifact, "orders.csv"))
    charts = report.locator("svg[role=img]")
    sizes = [chart.bounding_box() for chart in charts.all()]
    assert len(sizes) == CHARTS
    assert all(size is not None and size["width"] > 200 and size["height"] > 80 for size in sizes)
    assert report.locator("body").inner_text() == approved_run.draft, "what was read is what is published"
    world.picture(screenshots, "portfolio")


def test_the_report_by_itself_fits_its_page(
    world: World, approved_run: ApprovedRun, screenshots: Path
) -> None:
    world.go(f"/apex/portfolio-files/{TRIGGERED}/v1/report.html")
    page = world.page
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.screenshot(path=screenshots / "report.png", full_page=True)


def test_two_months_are_compared(world: World, approved_run: ApprovedRun, screenshots: Path) -> None:
    world.go("/")
    world.page.get_by_role("link", name="Portfolios").click()
    frame = world.frame()
    expect(frame.locator("tbody tr")).to_have_count(len(PUBLISHED) + 1)
    newest = frame.locator("tbody tr").first
    for text in (str(TRIGGERED), "35", "report", "portfolio.csv"):
        expect(newest).to_contain_text(text)
    world.picture(screenshots, "months")
    before = PUBLISHED[3]
    frame.get_by_label("From").select_option(f"{before}/v1")
    frame.get_by_role("button", name="Compare").click()
    expect(frame.get_by_role("heading", level=1)).to_have_text(f"{before}/v1 → {TRIGGERED}/v1")
    held = {day: _held(world.store, day) for day in (before, TRIGGERED)}
    entered, left = held[TRIGGERED] - held[before], held[before] - held[TRIGGERED]
    kept = held[TRIGGERED] & held[before]
    expect(frame.locator(".verdict")).to_contain_text(f"{len(entered)} in, {len(left)} out, {len(kept)} kept")
    table = frame.get_by_role("table").first
    assert set(table.locator("tbody td:first-child").all_inner_texts()) == entered
    world.picture(screenshots, "comparison")


def _held(store: Store, day: dt.date) -> set[str]:
    portfolio = latest_version(store, day)
    assert portfolio is not None
    return set(read_csv(portfolio.artifact, "portfolio.csv")["code"])


def test_files_are_downloads(world: World, approved_run: ApprovedRun) -> None:
    world.go("/plugin/portfolios")
    with world.page.expect_download() as download:
        world.frame().get_by_role("link", name="orders.csv").first.click()
    assert download.value.suggested_filename == f"{TRIGGERED}_v1_orders.csv"
    portfolio = latest_version(world.store, TRIGGERED)
    assert portfolio is not None
    assert Path(download.value.path()).read_bytes() == portfolio.artifact.read_bytes("orders.csv")


def test_no_page_asked_another_machine_for_anything(world: World, approved_run: ApprovedRun) -> None:
    hosts = {urlsplit(url).hostname for url in world.elsewhere if url.startswith("http")}
    assert hosts == {"127.0.0.1"}
