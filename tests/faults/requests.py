"""Faults of what is asked for: the day, the parameters of a run, the state of the store."""

from __future__ import annotations

import shutil

from tests.support.fault_table.attempt import Attempt, Change, asked, both
from tests.support.fault_table.case import Case
from tests.support.fault_table.cells import scaled
from tests.support.fault_table.places import AFTER_AS_OF, AS_OF_ROWS
from tests.support.fault_table.verdicts import refused, same, told


def on(day: str) -> Change:
    """Another day than the month's."""
    return asked("--date", day)


def october_published(attempt: Attempt) -> None:
    """The month is published already."""
    assert attempt.market.sound_month
    shutil.copytree(attempt.market.folder / "cold", attempt.home)


def audit_cut(attempt: Attempt) -> None:
    """The audit trail of September has lost its end."""
    trail = attempt.home / "audit" / "trail.jsonl"
    trail.write_bytes(trail.read_bytes()[:-20])


def book_changed(attempt: Attempt) -> None:
    """Somebody has edited September's book."""
    book = next((attempt.home / "portfolio").rglob("book.json"))
    book.write_bytes(book.read_bytes().replace(b"1", b"2", 1))


def home_is_a_file(attempt: Attempt) -> None:
    attempt.folder.mkdir(parents=True, exist_ok=True)
    attempt.home.write_text("no folder")


def no_september(attempt: Attempt) -> None:
    shutil.rmtree(attempt.home)


DAYS = (
    Case("a day in the future", on("2098-07-01"), refused("the as-of session 2098-06-30 is in the future"), quick=True),
    Case("a day beyond the calendar", on("2199-01-07"), refused("2199-01-07"), quick=True),
    Case("a day before the calendar", on("1950-02-01"), refused("1950-02-01"), quick=True),
    Case("the day after the rebalance day: the rebalance day would be the as-of", on("2025-10-02"), refused("2025-10-01 is the rebalance day; its as-of session is 2025-09-30"), quick=True),
    Case("a day in the middle of a month", on("2025-09-17"), refused("2025-09-16 is not the session before a rebalance day"), quick=True),
    Case("a Saturday", on("2025-10-04"), refused("not a session of the Tokyo Stock Exchange"), quick=True),
    Case("a Sunday", on("2025-10-05"), refused("not a session of the Tokyo Stock Exchange"), quick=True),
    Case("a holiday", on("2025-10-13"), refused("not a session of the Tokyo Stock Exchange"), quick=True),
    Case("the days around New Year", on("2025-12-31"), refused("not a session of the Tokyo Stock Exchange"), quick=True),
    Case("a month after the file's end", on("2025-11-04"), refused("no rows for the as-of session 2025-10-31"), quick=True),
    Case("a month before the file's beginning", on("2024-10-01"), refused("no rows for the as-of session 2024-09-30"), quick=True),
    Case("a month behind the newest published one", on("2025-08-01"), refused("2025-08-01 is older than the newest published month"), held=True, quick=True),
    Case("a reason to be off-cycle in a month's own day", asked("--off-cycle", "why not"), refused("off_cycle is given, but 2025-10-01 is a month's rebalance day"), quick=True),
    Case("a blank reason to be off-cycle", both(on("2025-09-17"), asked("--off-cycle", "  ")), refused("run parameter off_cycle is invalid"), quick=True),
    Case("no book to start from", no_september, refused("has no book to start from"), held=True),
    Case("another time zone of the machine: New York", asked(TZ="America/New_York"), same()),
    Case("another time zone of the machine: Kiritimati", asked(TZ="Pacific/Kiritimati"), same()),
    Case("another language of the machine", asked(LC_ALL="de_DE.UTF-8", LANG="tr_TR.UTF-8"), same()),
)  # fmt: skip

PARAMETERS = (
    Case("top_k 0", asked("--top-k", "0"), refused("run parameter top_k is invalid"), quick=True),
    Case("top_k -35", asked("--top-k", "-35"), refused("run parameter top_k is invalid"), quick=True),
    Case("top_k 1", asked("--top-k", "1"), refused("top_k 1 is below the fewest names"), quick=True),
    Case("top_k 9", asked("--top-k", "9"), refused("top_k 9 is below the fewest names"), quick=True),
    Case("top_k 10", asked("--top-k", "10"), told("top_k 10 instead of 35")),
    Case("top_k 40", asked("--top-k", "40"), told("top_k 40 instead of 35"), quick=True),
    Case("top_k 200", asked("--top-k", "200"), told("top_k 200 is more than there are candidates", "top_k 200 instead of 35")),
    Case("top_k 1000000000", asked("--top-k", "1000000000"), refused("run parameter top_k is invalid"), quick=True),
    Case("horizon 7", asked("--horizon", "7"), refused("run parameter horizon is invalid"), quick=True),
    Case("horizon 5", asked("--horizon", "5"), told("horizon 5 instead of 20")),
    Case("features_mode strict without need", asked("--features-mode", "strict"), told("features_mode strict instead of fill-zero")),
    Case("another policy", asked("--policy", "capped"), told("policy capped instead of baseline")),
    Case("what is asked for is what is set", asked("--top-k", "35", "--horizon", "20", "--policy", "baseline"), same()),
    Case("no such bundle", asked("--bundle", "nowhere"), refused("bundle is missing"), quick=True),
    Case("the bundle is the dataset", lambda a: asked("--bundle", str(a.dataset))(a), refused("bundle"), quick=True),
    Case("the dataset is the bundle", lambda a: asked("--dataset", str(a.bundle))(a), refused("dataset is missing"), quick=True),
    Case("a locked parameter", asked("--top-k", "40", APEX_LOCKED="top_k"), refused("locked for runs: top_k"), quick=True),
    Case("a locked dataset", lambda a: asked("--dataset", str(a.bundle), APEX_LOCKED="dataset,bundle")(a), refused("locked for runs: dataset"), quick=True),
    Case("a locked cold start", asked(APEX_LOCKED="cold_start"), refused("locked for runs: cold_start"), quick=True),
    Case("a locked parameter as it is set", asked("--top-k", "35", APEX_LOCKED="top_k"), same()),
    Case("nobody has approved", asked(APEX_APPROVAL="true"), refused("awaits a person's approval")),
)  # fmt: skip

STORE = (
    Case("the month is published already, from the same data", october_published, same(), quick=True),
    Case("the month is published already, from other data", both(october_published, scaled(("Close",), 1.02, AS_OF_ROWS)), refused("is published already, with a different result")),
    Case("the month is published already, the file has grown", both(october_published, scaled(("Close",), 2.0, AFTER_AS_OF)), same()),
    Case("the store is a file", home_is_a_file, refused("the store is not a folder"), quick=True),
    Case("September's book was edited", book_changed, refused("book.json"), held=True),
    Case("the audit trail has lost its end", audit_cut, refused("audit trail"), held=True),
)  # fmt: skip

CASES = (*DAYS, *PARAMETERS, *STORE)
