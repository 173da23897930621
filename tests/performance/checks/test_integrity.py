"""Second check: is the bundle whole, and the published one?"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from apex_tasks.performance.checks.check import CheckVerdict
from apex_tasks.performance.checks.integrity import check_bundle
from apex_tasks.settings import BundleLimits
from tests.support.checks import verdict_of
from tests.support.small_market import OCTOBER, SmallMarket, portfolio


@pytest.fixture
def hashes(chain: Path) -> dict[str, str]:
    return dict(portfolio(chain, OCTOBER).read_json("run.json")["hashes"])


def test_the_published_bundle_is_whole(market: SmallMarket, hashes: dict[str, str]) -> None:
    check = check_bundle(str(market.bundle), hashes, "2025-10-01/v1", BundleLimits())
    assert verdict_of(check) is CheckVerdict.OK
    assert hashes["bundle"][:12] in check.finding


def test_a_flipped_bit_needs_attention(market: SmallMarket, hashes: dict[str, str], tmp_path: Path) -> None:
    forged = tmp_path / "bundle"
    shutil.copytree(market.bundle, forged)
    checkpoint = next(forged.rglob("*.pt"))
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    check = check_bundle(str(forged), hashes, "2025-10-01/v1", BundleLimits())
    assert verdict_of(check) is CheckVerdict.ATTENTION
    assert "does not match MANIFEST.lock" in check.finding


def test_another_bundle_that_is_whole_needs_attention(
    market: SmallMarket, hashes: dict[str, str], tmp_path: Path
) -> None:
    other = tmp_path / "bundle"
    shutil.copytree(market.bundle, other)
    (other / "NOTES.md").write_text("A file that no manifest lists.")
    check = check_bundle(str(other), hashes, "2025-10-01/v1", BundleLimits())
    assert verdict_of(check) is CheckVerdict.ATTENTION
    assert "not the bundle that published 2025-10-01/v1: bundle " in check.finding
    assert "checkpoint" not in check.finding


def test_no_bundle_is_unknown(hashes: dict[str, str]) -> None:
    assert verdict_of(check_bundle(None, hashes, "2025-10-01/v1", BundleLimits())) is CheckVerdict.UNKNOWN
