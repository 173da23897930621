"""The page of a bundle whose lower outputs are better: the same, but for identities, as with all heads negated."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.bundle_factory import mirrored_bundle
from tests.support.small_market import JULY, SmallMarket, portfolio, run

OF_THE_BUNDLE = r"[0-9a-f]{7,64}|&#34;sign&#34;: -?1"


def test_mirrored_bundles_have_the_same_page_and_charts(market: SmallMarket, tmp_path: Path) -> None:
    pages = []
    for sign in (1, -1):
        bundle = mirrored_bundle(tmp_path / f"bundle{sign:+d}", sign)
        run(SmallMarket(market.dataset, bundle), tmp_path / str(sign), JULY, cold_start=True)
        page = portfolio(tmp_path / str(sign), JULY).read_bytes("report.html").decode()
        assert "<svg" in page
        pages.append(re.sub(OF_THE_BUNDLE, "", page))
    assert pages[0] == pages[1]
