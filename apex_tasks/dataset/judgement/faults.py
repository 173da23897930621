"""What a judgement found, in words and in numbers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.refusal import DatasetUnsound, Refusal
from apex_tasks.settings import WAITED_FOR, Fault

SHOWN = 5
REMEDY = (
    "Repair the delivery; docs/runbook.md#the-dataset-is-refused tells how to look further or accept a fault."
)


class FoundFault(FrozenModel):
    """One kind of fault that a dataset has.

    Attributes
    ----------
    count
        How many sessions, rows, features or stocks have it.
    stops
        Whether a month is refused for it.
    told
        What was expected and received, in words.
    codes
        The stocks in question, ascending, where the fault is one of single stocks.
    """

    fault: Fault
    count: int
    stops: bool
    told: str
    codes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.fault}: {self.told}"


class DatasetJudgement(FrozenModel):
    """What a dataset is worth for one as-of session.

    Attributes
    ----------
    as_of
        Session that the month is decided on.
    sessions
        Sessions that were looked at, the as-of session included.
    rows, priced, traded
        Stocks of the as-of session with a row, with a close, and with a volume.
    faults
        In the order of `Fault`; empty for a sound dataset.
    """

    as_of: dt.date
    sessions: int
    rows: int
    priced: int
    traded: int
    faults: tuple[FoundFault, ...]

    @property
    def stopping(self) -> tuple[FoundFault, ...]:
        """The faults for which a month is refused."""
        return tuple(fault for fault in self.faults if fault.stops)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The faults that are told, in words."""
        return tuple(str(fault) for fault in self.faults if not fault.stops)

    def counts(self) -> dict[str, int]:
        """Count of each kind of fault, 0 where there is none."""
        found = {fault.fault: fault.count for fault in self.faults}
        return {str(kind): found.get(kind, 0) for kind in Fault}

    @property
    def may_mend_itself(self) -> bool:
        """Whether all that stops a month is what a delivery under way looks like."""
        return all(fault.fault in WAITED_FOR for fault in self.stopping)

    def refusal(self, where: object) -> Refusal | None:
        """The refusal that names every fault for which a month is refused; None where there is none."""
        if not self.stopping:
            return None
        return DatasetUnsound(
            f"dataset is not sound for the as-of session {self.as_of}",
            expected="a delivery without these faults",
            received="; ".join(str(fault) for fault in self.stopping),
            where=where,
            remedy=REMEDY,
        )

    def require_sound(self, where: object) -> None:
        """Refuse a dataset with a fault that stops a month.

        Raises
        ------
        Refusal
            Names every such fault.
        """
        refusal = self.refusal(where)
        if refusal is not None:
            raise refusal

    def require_sound_names(self, codes: Collection[str], where: object) -> None:
        """Refuse a book or orders with a name whose prices are in question.

        Raises
        ------
        Refusal
            Names the stocks and their faults.
        """
        hit = [(fault, sorted(set(fault.codes) & set(codes))) for fault in self.faults]
        hit = [(fault, names) for fault, names in hit if names]
        if hit:
            raise DatasetUnsound(
                "prices of held or ordered names are in question",
                expected="moves within the daily limit, or explained by AdjustmentFactor or AdjustmentClose",
                received="; ".join(f"{shown(names)} ({fault})" for fault, names in hit),
                where=where,
                remedy="Compare these prices with another source and repair the file; a move that is true goes into "
                "judgement.accepted_moves as <Code>@<date>.",
            )


def shown(names: Iterable[object]) -> str:
    """The first few of many, and how many more there are."""
    listed = [str(name) for name in names]
    rest = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + rest
