"""What the tests of the checklist share: a deployment after its smoke test and monthly rehearsal."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from apex_tasks.dataset.schema import open_dataset
from apex_tasks.monthly.validate_bundle import validate_bundle
from apex_tasks.rehearsal.deployment import Deployment
from apex_tasks.rehearsal.replay import MonthlyRehearsal, rehearse_months
from apex_tasks.rehearsal.request import RehearsalRequest
from apex_tasks.rehearsal.smoke_test import SmokeReport, smoke_test
from apex_tasks.settings import ApexSettings
from apex_tasks.store import Store
from tests.support.deployments import Deploy
from tests.support.small_market import CALENDAR, LAST_SESSION, SmallMarket, small_settings


@pytest.fixture(scope="session")
def tried(
    market: SmallMarket, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SmokeReport, MonthlyRehearsal]:
    """The outcomes of the two stages before the checklist."""
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
