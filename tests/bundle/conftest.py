from pathlib import Path

import pytest

from tests.support import bundle_factory


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_factory.dataset(tmp_path_factory.mktemp("dataset") / "prices.parquet")
