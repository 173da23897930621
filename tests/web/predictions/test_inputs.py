"""What `--model` and `--config` may name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from apex_tasks.refusal import Refusal
from apex_tasks.web.predictions.inputs import InputSource, ServedInputs
from tests.support import bundle_factory
from tests.support.small_market import CALENDAR, LAST_SESSION, SmallMarket, market_bundle, small_settings


def read(market: SmallMarket, model: Path, config: Path | None = None) -> ServedInputs:
    return InputSource(model, market.dataset, small_settings("unused"), CALENDAR, config).read()


def test_a_folder_an_archive_and_its_checkpoint_mean_the_same_bundle(
    market: SmallMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = market_bundle().archive(tmp_path / "bundle.tar.gz")
    whole = read(market, market.bundle)
    assert whole.sessions[-1] == whole.default == whole.last_day == LAST_SESSION
    assert read(market, archive).bundle.bundle_sha256 == whole.bundle.bundle_sha256
    monkeypatch.chdir(market.bundle.parent)
    for model in (market.bundle / bundle_factory.CHECKPOINT, Path("bundle") / bundle_factory.CHECKPOINT):
        assert read(market, model).bundle.bundle_sha256 == whole.bundle.bundle_sha256


def test_another_file_of_the_bundle_is_no_model(market: SmallMarket) -> None:
    with pytest.raises(Refusal, match="the model is not the checkpoint of its bundle") as refused:
        read(market, market.bundle / bundle_factory.GROUPS)
    assert refused.value.expected == bundle_factory.CHECKPOINT


def test_a_checkpoint_without_a_bundle_is_refused(market: SmallMarket, tmp_path: Path) -> None:
    alone = shutil.copy(market.bundle / bundle_factory.CHECKPOINT, tmp_path / "model.pt")
    with pytest.raises(Refusal, match="bundle"):
        read(market, Path(alone))


def test_the_config_must_be_the_bundles_own(market: SmallMarket, tmp_path: Path) -> None:
    own = market.bundle / bundle_factory.CONFIG
    assert read(market, market.bundle, own).sessions
    copy = Path(shutil.copy(own, tmp_path / "elsewhere.yaml"))
    assert read(market, market.bundle, copy).sessions
    copy.write_bytes(own.read_bytes() + b"\n")
    with pytest.raises(Refusal, match="not the one that the bundle was released with"):
        read(market, market.bundle, copy)
    with pytest.raises(Refusal, match="the config cannot be read"):
        read(market, market.bundle, tmp_path / "none.yaml")
