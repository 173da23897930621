import json

import pyarrow.parquet as pq
import pytest

from apex_tasks.demo.bundle import _split, write_demo_bundle
from apex_tasks.demo.market import write_demo_data
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.monthly.validate_bundle import validate_bundle
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings
from apex_tasks.store import file_sha256

CALENDAR = TseCalendar.load()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_demo_data(tmp_path_factory.mktemp("data"), stocks=60, sessions=290, seed=3).dataset


@pytest.mark.parametrize("count", [260, 261, 300, 735, 1_200])
def test_no_judged_return_or_feature_is_seen_in_training(tmp_path, count):
    from datetime import date

    sessions = CALENDAR.sessions(date(2015, 1, 5), date(2025, 10, 31))[-count:]
    split = _split(sessions, tmp_path)
    at = {day: index for index, day in enumerate(sessions)}
    end = at[split.train_end]
    assert at[split.train_dates[0]] >= 179  # a full lookback
    assert at[split.train_dates[-1]] == end - 20  # the longest target ends with the training
    assert list(split.train_dates) == sorted(split.train_dates)
    assert min(at[day] for day in split.out_of_sample) == end + 1
    assert max(at[day] for day in split.out_of_sample) + 20 <= count - 1  # every judged return exists
    assert {*split.in_sample} <= {*split.train_dates}
    assert split.in_sample
    if count == 735:
        # The default leaves training more than a year, and several months to be judged by.
        assert end - 20 - at[split.train_dates[0]] > 250
        assert len(split.out_of_sample) == 5


def test_a_short_dataset_is_refused(tmp_path):
    made = write_demo_data(tmp_path / "short.parquet", stocks=20, sessions=259)
    with pytest.raises(Refusal, match="too short") as refused:
        write_demo_bundle(tmp_path / "bundle", made.dataset)
    assert (refused.value.expected, refused.value.received) == ("at least 260 sessions", "259")
    assert not (tmp_path / "bundle").exists()


def test_a_dataset_that_does_not_say_synthetic_is_refused(tmp_path, dataset):
    unmarked = tmp_path / "real.parquet"
    pq.write_table(pq.read_table(dataset).replace_schema_metadata({}), unmarked)
    with pytest.raises(Refusal, match="not marked synthetic"):
        write_demo_bundle(tmp_path / "bundle", unmarked)


def test_an_existing_output_is_refused_before_the_training(tmp_path, dataset):
    (tmp_path / "bundle.tar.gz").write_bytes(b"precious")
    with pytest.raises(Refusal, match="output exists"):
        write_demo_bundle(tmp_path / "bundle.tar.gz", dataset, progress=pytest.fail)
    assert (tmp_path / "bundle.tar.gz").read_bytes() == b"precious"


@pytest.mark.slow
def test_the_bundle_passes_the_handshake_and_is_the_same_every_time(tmp_path, dataset):
    first = write_demo_bundle(tmp_path / "first", dataset, seed=5, samples=128)
    second = write_demo_bundle(tmp_path / "second.tar.gz", dataset, seed=5, samples=128)
    other = write_demo_bundle(tmp_path / "other", dataset, seed=6, samples=128)
    assert first.manifest_sha256 == second.manifest_sha256 != other.manifest_sha256
    assert first.manifest_sha256 == file_sha256(first.path / "MANIFEST.lock")
    assert first.rank_ic_out_of_sample == second.rank_ic_out_of_sample

    for made in (first, second):
        resolved = validate_bundle(made.path, dataset, ApexSettings())
        assert resolved.effective_dim == 178
        assert resolved.model.d_model == 256
        assert resolved.synthetic is True
        assert resolved.feature_origin == resolved.dataset_feature_origin == "prices-1"
        assert resolved.warnings == ()
        assert (
            "[Model Init] in_features=89, patch_multiplier=auto, add_csz=False" in resolved.settings_block()
        )
        selection = resolved.selection
        assert (selection.k_ratio, selection.k_min, selection.sign) == (0.6, 53, 1)

    manifest = json.loads((first.path / "MANIFEST.lock").read_bytes())
    frame = pq.read_table(dataset, columns=["Date", "Code"]).to_pandas()
    assert manifest["synthetic"] is True
    assert manifest["created"] == "2025-10-31"  # from the data, not the clock
    assert "performance_benchmarks" not in manifest  # nothing was measured that could be compared
    assert manifest["dataset"] == {
        "file": "dataset.parquet",
        "sha256": file_sha256(dataset),
        "features": 89,
        "date_range": f"{frame.Date.min()} to {frame.Date.max()}",
        "rows": len(frame),
        "stocks": frame.Code.nunique(),
    }
    assert manifest["training"]["rank_ic_h20_out_of_sample"] == round(first.rank_ic_out_of_sample, 6)
    assert manifest["training"]["returns_at_last_price"] == first.returns_at_last_price
    assert first.out_of_sample_dates == len(manifest["training"]["out_of_sample_dates"])


@pytest.mark.slow
def test_the_default_bundle_orders_returns_that_it_has_not_seen(tmp_path):
    made = write_demo_bundle(tmp_path / "bundle")
    assert made.rank_ic_out_of_sample > 0.1
    assert made.rank_ic_in_sample > 0.1
    assert made.out_of_sample_dates == 5
