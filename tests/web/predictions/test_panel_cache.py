"""Panels and scores on disk: bounded, whole or not there, and mended where a disk has spoilt them."""

from __future__ import annotations

import datetime as dt
import logging
import os
from pathlib import Path

import pytest

from apex_tasks.refusal import Refusal
from apex_tasks.web.predictions import panel_cache
from apex_tasks.web.predictions.inputs import InputSource, ServedInputs
from apex_tasks.web.predictions.panel_cache import PanelCache
from tests.support.small_market import CALENDAR, SmallMarket, home_after, small_settings

DAYS = [dt.date(2025, 9, day) for day in (1, 2, 3, 4)]
ROOM = 1 << 40


@pytest.fixture(scope="module")
def source(market: SmallMarket) -> InputSource:
    return InputSource(market.bundle, market.dataset, small_settings("unused"), CALENDAR)


@pytest.fixture(scope="module")
def inputs(source: InputSource) -> ServedInputs:
    return source.read()


def complete(folder: Path, kind: str) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/{kind}/*/manifest.json"))


def age(folder: Path, days: int) -> None:
    """Let all of the cache have been used that long ago."""
    for manifest in folder.glob("*/*/*/manifest.json"):
        moment = manifest.stat().st_mtime - days * 86_400
        os.utime(manifest, (moment, moment))


def test_what_was_used_longest_ago_is_removed(
    source: InputSource, inputs: ServedInputs, tmp_path: Path
) -> None:
    roomy = PanelCache(tmp_path, source, ROOM)
    for day in DAYS[:3]:
        age(tmp_path, 1)
        roomy.build(inputs, day)
    one_panel = roomy.bytes // 3
    age(tmp_path, 1)
    assert roomy.find(inputs, DAYS[0]) is not None  # the oldest, but used again
    tight = PanelCache(tmp_path, source, int(one_panel * 3.5))
    tight.build(inputs, DAYS[3])
    assert tight.bytes <= one_panel * 3.5
    assert [roomy.find(inputs, day) is not None for day in DAYS] == [True, False, True, True]


def test_what_was_just_built_stays_whatever_the_bound(
    source: InputSource, inputs: ServedInputs, tmp_path: Path
) -> None:
    cache = PanelCache(tmp_path, source, 1)
    for day in DAYS[:2]:
        cache.build(inputs, day)
        assert cache.find(inputs, day) is not None
    assert cache.find(inputs, DAYS[0]) is None
    assert len(complete(tmp_path, "panels")) == len(complete(tmp_path, "scores")) == 1


def test_panels_of_other_versions_are_not_used_but_make_room(
    source: InputSource, inputs: ServedInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PanelCache(tmp_path, source, ROOM).build(inputs, DAYS[0])
    age(tmp_path, 1)
    monkeypatch.setattr("apex_tasks.__version__", "99.0.0")
    later = PanelCache(tmp_path, source, 1)
    assert later.find(inputs, DAYS[0]) is None
    later.build(inputs, DAYS[0])
    assert len(complete(tmp_path, "panels")) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("panels", "manifest.json"),
        ("panels", "rows.npy"),
        ("panels", "windows.parquet"),
        ("scores", "manifest.json"),
        ("scores", "forecasts.parquet"),
    ],
)
@pytest.mark.parametrize("spoilt", [b"", b"\x00" * 64, None], ids=["empty", "zeros", "gone"])
def test_a_spoilt_file_is_computed_anew(
    source: InputSource, inputs: ServedInputs, tmp_path: Path, kind: str, name: str, spoilt: bytes | None
) -> None:
    cache = PanelCache(tmp_path, source, ROOM)
    expected = cache.build(inputs, DAYS[0]).forecasts
    (folder,) = complete(tmp_path, kind)
    if spoilt is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(spoilt)
    if kind == "panels" and name != "manifest.json":  # scores alone would do: they must be computed again
        for manifest in tmp_path.glob("*/scores/*/manifest.json"):
            manifest.unlink()
    assert cache.find(inputs, DAYS[0]) is None
    again = cache.build(inputs, DAYS[0])
    assert again.forecasts.equals(expected)
    assert cache.find(inputs, DAYS[0]) is not None


def test_what_a_killed_build_left_is_swept_away(
    source: InputSource, inputs: ServedInputs, tmp_path: Path
) -> None:
    cache = PanelCache(tmp_path, source, ROOM)
    cache.build(inputs, DAYS[0])
    (panel,) = complete(tmp_path, "panels")
    left = panel.with_name("f" * 64)
    left.mkdir()
    (left / ".rows.npy.abc").write_bytes(b"half")
    assert cache.find(inputs, DAYS[0]) is not None
    cache.build(inputs, DAYS[1])
    assert not left.exists()
    assert len(complete(tmp_path, "panels")) == 2


def test_a_store_of_published_months_is_no_cache(source: InputSource, chain: Path, tmp_path: Path) -> None:
    home = home_after(chain, tmp_path / "home", dt.date(2025, 7, 1))
    with pytest.raises(Refusal, match="no folder of its own"):
        PanelCache(home, source, ROOM)
    with pytest.raises(Refusal, match="no folder of its own"):
        PanelCache(Path(source.settings.home), source, ROOM)  # though nothing is published yet


def test_a_folder_that_cannot_be_written_is_a_refusal(
    source: InputSource, inputs: ServedInputs, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Refusal, match="could not be computed"):
        PanelCache(tmp_path / "file" / "cache", source, ROOM).build(inputs, DAYS[0])


def test_a_dataset_replaced_during_the_build_leaves_nothing(
    market: SmallMarket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    dataset = tmp_path / "dataset.parquet"
    dataset.write_bytes(market.dataset.read_bytes())
    source = InputSource(market.bundle, dataset, small_settings("unused"), CALENDAR)
    inputs = source.read()
    os.utime(dataset)
    with pytest.raises(panel_cache.InputsChanged):
        PanelCache(tmp_path / "cache", source, ROOM).build(inputs, DAYS[0])
    assert complete(tmp_path / "cache", "panels") == complete(tmp_path / "cache", "scores") == []
