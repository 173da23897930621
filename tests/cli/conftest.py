"""`apex` as its console script calls it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from apex_tasks import cli
from tests.support.console import Apex, Outcome
from tests.support.small_market import (
    SmallMarket,
)


@pytest.fixture
def apex(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, market: SmallMarket
) -> Apex:
    """Run `apex` as its console script does: exit code, stdout, stderr; small market, own home."""
    monkeypatch.setenv("APEX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("APEX_BUNDLE", str(market.bundle))
    monkeypatch.setenv("APEX_DATASET", str(market.dataset))

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["apex", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        code = ended.value.code
        return code if isinstance(code, int) else int(code is not None), said.out, said.err

    return call
