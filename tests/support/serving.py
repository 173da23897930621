"""The application of `apex serve` in this process, asked as from this host or from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from apex_tasks.settings import ServeSettings
from apex_tasks.web.predictions.inputs import InputSource
from apex_tasks.web.server import make_app
from tests.support.small_market import CALENDAR, SmallMarket, small_settings

HERE, ELSEWHERE = ("127.0.0.1", 50_000), ("203.0.113.7", 50_000)


def client_of(
    market: SmallMarket,
    folder: Path,
    *,
    home: Path | None = None,
    config: Path | None = None,
    use_cache: bool = True,
    client: tuple[str, int] = HERE,
    base_url: str = "http://127.0.0.1:8000",
    **serve: Any,
) -> TestClient:
    """A client of an application with its cache below `folder`; `serve` are settings of that section."""
    settings = small_settings(home or folder / "home")
    section = ServeSettings.model_validate({"cache_dir": str(folder / "cache"), **serve})
    settings = settings.model_copy(update={"serve": section})
    source = InputSource(market.bundle, market.dataset, settings, CALENDAR, config)
    app = make_app(source, settings, use_cache=use_cache)
    return TestClient(app, base_url=base_url, client=client, raise_server_exceptions=False)
