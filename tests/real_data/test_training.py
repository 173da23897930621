"""The evaluation's bundle knows nothing after 2011: whatever comes later, it is the same bundle."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from real_data import stages, training
from real_data.rank_ics import month_scores

from apex_tasks.bundle import read_bundle, resolve_bundle
from apex_tasks.dataset.price_features import PRICE_FEATURES
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.model.training import TrainingSettings, train
from apex_tasks.refusal import Refusal
from apex_tasks.settings import BundleLimits
from apex_tasks.store import Artifact, Store
from tests.support.real_market import TRAIN_END, as_csv, made_up_panel, scrambled

BRIEF = TrainingSettings(samples=64, dropout=0.0)
RETURNS, VOLUMES = made_up_panel()


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """Datasets and bundle of a made-up panel, each in a store of its own."""
    monkeypatch.setattr(stages, "SETTINGS", BRIEF)

    def run(name: str, returns: pd.DataFrame, volumes: pd.DataFrame) -> tuple[Artifact, Artifact]:
        monkeypatch.setattr(stages, "read_files", lambda _: (as_csv(returns), as_csv(volumes)))
        store = Store(tmp_path / name)
        datasets = stages.make_datasets(store, Path("unused"))
        return datasets, stages.make_bundle(store, datasets)

    return run


def _bundle_bytes(bundle: Artifact) -> bytes:
    return bundle.read_bytes(stages.BUNDLE)


@pytest.mark.slow
def test_nothing_after_the_train_end_changes_a_byte_of_the_bundle(evaluate):
    datasets, bundle = evaluate("real", RETURNS, VOLUMES)
    later = scrambled(RETURNS, TRAIN_END), scrambled(VOLUMES, TRAIN_END)
    other_datasets, other_bundle = evaluate("later", *later)
    assert other_datasets.sha256(stages.DATASET) != datasets.sha256(stages.DATASET)
    assert other_datasets.sha256(stages.TRAINING) == datasets.sha256(stages.TRAINING)
    assert _bundle_bytes(other_bundle) == _bundle_bytes(bundle)

    # The check can fail: one row earlier, and the bundle is another.
    eve = TRAIN_END - dt.timedelta(days=1)
    _, touched = evaluate("touched", scrambled(RETURNS, eve), scrambled(VOLUMES, eve))
    assert _bundle_bytes(touched) != _bundle_bytes(bundle)


@pytest.mark.slow
def test_the_bundle_says_what_it_is_and_passes_the_handshake(evaluate):
    datasets, bundle = evaluate("real", RETURNS, VOLUMES)
    with bundle.local_file(stages.BUNDLE) as path:
        files = read_bundle(path, BundleLimits())
        resolved = resolve_bundle(files, datasets.folder / stages.DATASET, stages.evaluation_settings())
    manifest = json.loads(files.contents["MANIFEST.lock"])
    assert manifest["evaluation_only"] is True
    assert "not for trading" in manifest["notice"]
    assert "synthetic" not in manifest
    assert resolved.synthetic is False
    assert manifest["created"] == manifest["training"]["last_price_seen"] == "2011-12-30"
    assert manifest["dataset"]["date_range"] == "2010-10-01 to 2011-12-30"
    assert manifest["dataset"]["sha256"] == datasets.sha256(stages.TRAINING)
    assert len(manifest["training"]["features_filled_with_zero"]) == 29
    assert resolved.effective_dim == 178

    sessions = [day.date() for day in VOLUMES.index if day.date() <= TRAIN_END]
    first, last = (dt.date.fromisoformat(day) for day in bundle.details["train_dates"])
    assert sessions.index(first) == 179  # 180 rows, that of the date included
    assert len(sessions) - 1 - sessions.index(last) == 20  # the longest target ends with the training
    assert bundle.details["candidates"] == 30 * (sessions.index(last) - sessions.index(first) + 1)


@pytest.mark.slow
def test_a_months_scores_come_from_rows_up_to_its_as_of_session(evaluate):
    day = dt.date(2012, 1, 31)
    returns, volumes = made_up_panel(stocks=80)  # the least that a day is scored with
    datasets, bundle = evaluate("real", returns, volumes)
    others, _ = evaluate("later", scrambled(returns, day), scrambled(volumes, day))
    touched, _ = evaluate("touched", scrambled(returns, TRAIN_END), scrambled(volumes, TRAIN_END))
    settings = stages.evaluation_settings()
    scores, same, different = (
        month_scores(
            bundle.folder / stages.BUNDLE,
            open_dataset(made.folder / stages.DATASET),
            [TRAIN_END, day],
            settings,
        )
        for made in (datasets, others, touched)
    )
    assert list(scores.columns) == ["Date", "Code", "h1", "h5", "h10", "h20"]
    assert list(scores["Date"]) == [TRAIN_END] * 80 + [day] * 80
    assert list(scores["Code"]) == 2 * sorted(volumes.columns)
    pd.testing.assert_frame_equal(same, scores)
    pd.testing.assert_frame_equal(different[:80], scores[:80])
    assert (different["h20"] != scores["h20"])[80:].any()


def test_features_up_to_the_train_end_are_those_of_the_whole_history(evaluate, monkeypatch):
    monkeypatch.setattr(stages, "make_bundle", lambda *_: None)
    datasets, _ = evaluate("real", RETURNS, VOLUMES)
    with datasets.local_file(stages.TRAINING) as cut, datasets.local_file(stages.DATASET) as whole:
        cut, whole = pq.read_table(cut), pq.read_table(whole)
    assert cut["Date"][-1].as_py() == TRAIN_END
    assert whole["Date"][-1].as_py() == dt.date(2012, 4, 30)
    assert whole.slice(0, cut.num_rows).equals(cut)
    assert {feature.name for feature in PRICE_FEATURES} <= set(cut.column_names)


def test_a_finished_stage_is_found_again_and_a_changed_file_is_noticed(evaluate, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "make_bundle", lambda *_: None)
    datasets, _ = evaluate("real", RETURNS, VOLUMES)
    monkeypatch.setattr(stages, "read_files", pytest.fail)
    found = stages.make_datasets(Store(tmp_path / "real"), Path("unused"))
    assert found.manifest == datasets.manifest
    with (found.folder / stages.TRAINING).open("ab") as file:
        file.write(b"x")
    with pytest.raises(Refusal, match="changed after it was written"), found.local_file(stages.TRAINING):
        pass


def test_training_on_data_that_goes_on_is_refused(evaluate, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "make_bundle", lambda *_: None)
    datasets, _ = evaluate("real", RETURNS, VOLUMES)
    with pytest.raises(Refusal, match="goes on after the training") as refused:
        training.write_evaluation_bundle(tmp_path / "bundle", datasets.folder / stages.DATASET)
    assert refused.value.received == "rows up to 2012-04-30"
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("sessions", [199, 200])
def test_training_dates_need_a_lookback_and_a_horizon(sessions):
    days = [dt.date(2011, 1, 1) + dt.timedelta(days=n) for n in range(sessions + 50)]
    end = days[sessions - 1]
    if sessions < 200:
        with pytest.raises(Refusal, match="too short"):
            training.training_dates(days, end)
    else:
        assert training.training_dates(days, end) == [days[179]]


@pytest.mark.slow
def test_a_validation_year_judges_only_what_its_training_has_not_seen(evaluate, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "make_bundle", lambda *_: None)
    first, last = dt.date(2011, 10, 3), TRAIN_END
    asked = []

    def watched(dataset, plan, shape, dates, train_end, settings, **rest):
        asked.append((dates[-1], train_end))
        return train(dataset, plan, shape, dates, train_end, settings, **rest)

    monkeypatch.setattr(training, "train", watched)

    def judged(name: str, after: dt.date) -> list[float]:
        datasets, _ = evaluate(name, scrambled(RETURNS, after), scrambled(VOLUMES, after))
        dataset = open_dataset(datasets.folder / stages.DATASET)
        return training.validation_rank_ic(dataset, BRIEF, first, last)

    values = judged("after", last)
    sessions = [day.date() for day in VOLUMES.index]
    end = sessions.index(dt.date(2011, 9, 30))
    assert asked == [(sessions[end - 20], sessions[end])]
    count = sessions.index(last) - 20 - end + 1
    assert len(values) == -(-count // 5)
    assert values == judged("later", dt.date(2012, 2, 1))
    assert values != judged("within", dt.date(2011, 12, 1))
