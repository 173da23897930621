"""Routes of the pages. Who may see them is for the application to say, by the dependencies it gives the routers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import HTMLResponse, Response

from apex_tasks.published.comparison import compare_months, read_month
from apex_tasks.published.portfolio import (
    ORDERS_FILE,
    PORTFOLIO_FILE,
    REPORT_FILE,
    PublishedPortfolio,
    latest_version,
)
from apex_tasks.published.run_document import RUN_FILE
from apex_tasks.refusal import Refusal
from apex_tasks.settings import load_settings
from apex_tasks.store import Artifact, Store
from apex_tasks.web.pages.months import list_months
from apex_tasks.web.pages.published_files import (
    DRAFT_FILES,
    PUBLISHED_FILES,
    PortfolioName,
    UnknownError,
    find_draft,
    find_portfolio,
    media_type,
    read_file,
)
from apex_tasks.web.pages.rendering import comparison_page, message_page, months_page, run_page
from apex_tasks.web.pages.run_banner import Banner, RunState, Tone, describe
from apex_tasks.web.pages.verdict_badge import mark_of

READ = ["GET", "HEAD"]
MOST_CHARACTERS = 40
"""Of a portfolio's name in a query; the longest has 18."""

RunReader = Callable[[str, str, str], RunState | None]
"""From the id of a DAG, of a run and Airflow's base address to the run, or None where there is none."""


def open_store() -> Store:
    """The store that the settings name.

    Raises
    ------
    Refusal
        The settings are wrong, or the store is.
    """
    return Store(load_settings().home)


OpenStore = Annotated[Store, Depends(open_store)]
PortfolioQuery = Annotated[str, Query(max_length=MOST_CHARACTERS)]


def published_pages(dag_id: str) -> APIRouter:
    """Pages and files of the published months; `dag_id` is the DAG that publishes them."""
    router = APIRouter(default_response_class=HTMLResponse)

    @router.api_route("/months", methods=READ)
    def months(request: Request, store: OpenStore) -> Response:
        return HTMLResponse(months_page(list_months(store), store, base_of(request), dag_id))

    @router.api_route("/months/{rebalance_date}/{version}", methods=READ)
    def month(request: Request, rebalance_date: str, version: str, store: OpenStore) -> Response:
        portfolio = find_portfolio(store, PortfolioName.parse(f"{rebalance_date}/{version}"))
        banner = Banner(Tone.GOOD, "PUBLISHED", f"This is {portfolio.name}.")
        return HTMLResponse(show_month(portfolio, store, base_of(request), banner))

    @router.api_route("/compare", methods=READ)
    def compare(
        request: Request,
        store: OpenStore,
        before: Annotated[PortfolioQuery, Query(alias="from")],
        after: Annotated[PortfolioQuery, Query(alias="to")],
    ) -> Response:
        one, other = (find_portfolio(store, PortfolioName.parse(name)) for name in (before, after))
        found = compare_months(read_month(one), read_month(other))
        return HTMLResponse(comparison_page(found, base_of(request)))

    @router.api_route("/portfolio-files/{rebalance_date}/{version}/{name}", methods=READ)
    def portfolio_file(rebalance_date: str, version: str, name: str, store: OpenStore) -> Response:
        portfolio = find_portfolio(store, PortfolioName.parse(f"{rebalance_date}/{version}"))
        prefix = portfolio.name.replace("/", "_")
        return file_answer(portfolio.artifact, name, PUBLISHED_FILES, prefix)

    @router.api_route("/draft-files/{key}/{name}", methods=READ)
    def draft_file(key: str, name: str, store: OpenStore) -> Response:
        return file_answer(find_draft(store, key), name, DRAFT_FILES, f"draft_{key[:12]}")

    return router


def run_pages(dag_id: str, read_run_state: RunReader) -> APIRouter:
    """The tab of a run: its report, or why there is none.

    Parameters
    ----------
    dag_id
        DAG that publishes portfolios; a run of any other publishes none.
    """
    router = APIRouter(default_response_class=HTMLResponse)

    @router.api_route("/report/{dag_id}/{run_id}", methods=READ)
    def report(request: Request, store: OpenStore, run_id: str) -> Response:
        asked = request.path_params["dag_id"]
        base = base_of(request)
        if asked != dag_id:
            text = f"{asked} publishes no portfolio: only runs of {dag_id} do."
            links = [("Published months", f"{base}/months")]
            return HTMLResponse(message_page("No portfolio here", text, links=links))
        run = read_run_state(dag_id, run_id, base.rpartition("/")[0])
        if run is None:
            raise UnknownError(f"{dag_id} has no run {run_id!r}")
        return HTMLResponse(show_run(run, store, base))

    return router


def show_run(run: RunState, store: Store, base: str) -> str:
    """The tab's page.

    Raises
    ------
    Refusal
        The portfolio that the run published is not in the store, or damaged there.
    """
    banner, links = describe(run), [("All months", f"{base}/months")]
    if run.published is not None:
        return show_month(_published_by(run.published, store), store, base, banner)
    if run.draft is None:
        return run_page(banner, None, links, refresh=not run.ended)
    try:
        find_draft(store, run.draft)
    except UnknownError:
        return run_page(banner, None, links, "Its draft is no longer in the store.")
    return run_page(banner, f"{base}/draft-files/{run.draft}/{REPORT_FILE}", links)


def show_month(portfolio: PublishedPortfolio, store: Store, base: str, banner: Banner) -> str:
    """A published report below a banner, with the ways to its files and its neighbors.

    Raises
    ------
    Refusal
        It is damaged.
    """
    files, month = f"{base}/portfolio-files/{portfolio.name}/", portfolio.run()
    mark, parent = mark_of(month), month.parent and month.parent.portfolio
    notice = f"Verdict: {mark.symbol} {mark.word}. {_speed(portfolio)}"
    newest = latest_version(store, portfolio.rebalance_date)
    if newest is not None and newest.version > portfolio.version:
        notice += f" {newest.name} has replaced it."
    links = [(name, files + name) for name in (PORTFOLIO_FILE, ORDERS_FILE, RUN_FILE)]
    if parent:
        links.append((f"Compare with {parent}", f"{base}/compare?from={parent}&to={portfolio.name}"))
    links.append(("All months", f"{base}/months"))
    return run_page(banner, files + REPORT_FILE, links, notice)


def _speed(portfolio: PublishedPortfolio) -> str:
    """The one critical metric that the report cannot show, since it differs from run to run."""
    execution = portfolio.execution()
    origin = "found in the store" if execution.scores_cached else "computed"
    took = f"{execution.apex_inference_latency_ms:,.0f} ms"
    return f"Scores {origin} in {took}{''.join(f', ▲ {alert}' for alert in execution.alerts)}."


def _published_by(name: str, store: Store) -> PublishedPortfolio:
    try:
        return find_portfolio(store, PortfolioName.parse(name))
    except UnknownError:
        raise Refusal(
            "what this run published is not in the web server's store",
            expected=f"portfolio {name}",
            received="nothing complete",
            where=store.root,
            remedy="Give the web server the same APEX_HOME as the workers; if it has, bring the folder back.",
        ) from None


def file_answer(artifact: Artifact, name: str, known: tuple[str, ...], prefix: str) -> Response:
    """One file: the report to look at, anything else to keep."""
    data = read_file(artifact, name, known)
    headers = (
        {} if name == REPORT_FILE else {"Content-Disposition": f'attachment; filename="{prefix}_{name}"'}
    )
    return Response(data, media_type=media_type(name), headers=headers)


def base_of(request: Request) -> str:
    """Address below which the application is mounted."""
    return str(request.scope.get("root_path", "")).rstrip("/")
