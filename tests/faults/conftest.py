"""One sound market for all faults."""

from __future__ import annotations

import pytest

from tests.support.fault_table.market import SoundMarket, make_sound_market
from tests.support.outlined_charts import outlined_charts


@pytest.fixture(scope="session")
def sound_market(tmp_path_factory: pytest.TempPathFactory) -> SoundMarket:
    """Dataset, bundle and published months without a fault; never to be changed."""
    with outlined_charts():  # it outlives the module that asks first
        return make_sound_market(tmp_path_factory.mktemp("sound"))
