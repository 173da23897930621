"""Features of one small market, computed once."""

from __future__ import annotations

import pyarrow as pa
import pytest

from apex_tasks.dataset.price_features import (
    compute_price_features,
)
from tests.support.price_feature_oracle import ROWS, TABLE, oracle


@pytest.fixture(scope="module")
def computed() -> pa.Table:
    return compute_price_features(TABLE)


@pytest.fixture(scope="module")
def expected() -> dict:
    return oracle(ROWS)
