"""What a run is refused for at once: before anything is waited for or computed."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from apex_tasks.market.calendar import TOKYO, TseCalendar
from apex_tasks.parameters import WHERE
from apex_tasks.published.portfolio import latest_version, newest_published
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings
from apex_tasks.store import Store

if TYPE_CHECKING:
    from apex_tasks.monthly.request import RunRequest


def require_known_close(as_of: dt.date, now: dt.datetime, calendar: TseCalendar) -> None:
    """Refuse a session whose closes are still to come.

    Raises
    ------
    Refusal
        The exchange closes on `as_of` after `now`; or `as_of` is no session.
    """
    closing = calendar.closing_instant(as_of)
    if now >= closing:
        return
    raise Refusal(
        f"the as-of session {as_of} is in the future",
        expected=f"a session that has closed by now, {now.astimezone(TOKYO):%Y-%m-%d %H:%M} JST",
        received=f"{as_of}, which closes at {closing:%H:%M} JST",
        where=WHERE,
        remedy="Give an earlier session, or run this one after its close.",
    )


def require_as_of(
    as_of: dt.date, off_cycle: str | None, now: dt.datetime, calendar: TseCalendar, nth_session: int
) -> None:
    """Refuse an as-of session that belongs to no month, and one that is still to come.

    Parameters
    ----------
    off_cycle
        Why a book is made that belongs to no month; None: it is a month's.
    now
        The time of the request.
    nth_session
        Which session of a month rebalances.

    Raises
    ------
    Refusal
        `as_of` is no session, is itself a rebalance day, is not the session before one, or has not closed; or it is
        the session before one although the run is to be off-cycle.
    """
    calendar.require_session(as_of)
    after = calendar.next_session(as_of)
    is_month = calendar.latest_rebalance_session(after, nth_session) == after
    if off_cycle is None and calendar.latest_rebalance_session(as_of, nth_session) == as_of:
        raise Refusal(
            f"{as_of} is the rebalance day; its as-of session is {calendar.as_of(as_of)}",
            expected=f"as_of {calendar.as_of(as_of)}, the session whose close decides",
            received=f"as_of {as_of}, which would trade on {after}",
            where=WHERE,
            remedy=f"Trigger the run again with as_of {calendar.as_of(as_of)}, or `apex run --date {as_of}`.",
        )
    require_known_close(as_of, now, calendar)
    if is_month and off_cycle is not None:
        raise Refusal(
            f"off_cycle is given, but {after} is a month's rebalance day",
            expected=f"no off_cycle with as_of {as_of}",
            received=f"off_cycle {off_cycle!r}",
            where=WHERE,
            remedy="Trigger the run again without off_cycle, or with another as_of.",
        )
    if not is_month and off_cycle is None:
        before = calendar.latest_rebalance_session(as_of, nth_session)
        following = calendar.next_rebalance_session(as_of, nth_session)
        raise Refusal(
            f"{as_of} is not the session before a rebalance day",
            expected=" or ".join(f"{calendar.as_of(day)} (trades on {day})" for day in (before, following)),
            received=f"{as_of} (trades on {after})",
            where=WHERE,
            remedy="Give one of these sessions; or give the reason as off_cycle, for a book beside the monthly ones, "
            "from which no month starts.",
        )


def require_enough_names(settings: ApexSettings) -> None:
    """Refuse a book that is asked to be smaller than any may be.

    Raises
    ------
    Refusal
        `top_k`, of the run or of the settings, is below the setting `limits.least_names`.
    """
    top_k, least = settings.ranking.top_k, settings.limits.least_names
    if top_k < least:
        raise Refusal(
            f"top_k {top_k} is below the fewest names that a book may hold",
            expected=f"at least {least}, the setting limits.least_names",
            received=top_k,
            where=WHERE,
            remedy="Ask for more names; no parameter of a run lowers that limit.",
        )


def require_newest(request: RunRequest, store: Store) -> None:
    """Refuse to add a month behind one that is published already.

    A month that is published already may run again: the same result changes nothing, and another one needs the
    reason. A dry run publishes nothing.

    Raises
    ------
    Refusal
        A later month is published, this one is not, and no reason for a correction is given.
    """
    if request.dry_run or request.republish_reason is not None:
        return
    newest = newest_published(store)
    if newest is None or newest.rebalance_date <= request.rebalance_date:
        return
    if latest_version(store, request.rebalance_date) is not None:
        return
    raise Refusal(
        f"{request.rebalance_date} is older than the newest published month",
        expected=f"a rebalance day after {newest.rebalance_date}",
        received=request.rebalance_date,
        where=store.root / "portfolio",
        remedy="Trigger the newest month, or a dry run of this one; to add the month as a correction, give "
        "republish_reason.",
    )
