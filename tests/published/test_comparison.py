"""What differs between two months, against pandas and plain sets."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.published.comparison import Difference, Holding, MonthContent, compare_months, read_month
from apex_tasks.published.portfolio import PublishedPortfolio, latest_version
from apex_tasks.refusal import Refusal
from apex_tasks.store import Store
from tests.support.run_documents import SAMPLE_RUN, THRESHOLD, run_document
from tests.support.small_market import AUGUST, JULY, OCTOBER, portfolio

CODES = [f"{number}0" for number in range(1301, 1313)]


def published(home: Path, day: Any) -> PublishedPortfolio:
    found = latest_version(Store(home), day)
    assert found is not None
    return found


def content(
    name: str, weights: dict[str, float], scores: dict[str, float], run: dict[str, Any] = SAMPLE_RUN
) -> MonthContent:
    order = sorted(scores, key=lambda code: (-scores[code], code))
    ranks = {code: place + 1 for place, code in enumerate(order)}
    return MonthContent(
        name, run_document(run), {code: Holding(None, w) for code, w in weights.items()}, scores, ranks
    )


def changed(*path: str, to: object) -> dict[str, Any]:
    """A copy of the sample with one value replaced."""
    run = json.loads(json.dumps(SAMPLE_RUN))
    inner = run
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = to
    return run


@pytest.fixture(scope="module")
def frames(chain: Path) -> dict[str, pd.DataFrame]:
    """Published tables of July and October, read without the product."""
    found = {}
    for name, day in (("before", JULY), ("after", OCTOBER)):
        folder = portfolio(chain, day).folder
        found[name] = pd.read_csv(folder / "portfolio.csv", dtype={"code": str}).set_index("code")
        found[f"{name} scores"] = pd.read_parquet(folder / "scores.parquet").set_index("Code")
    return found


def test_names_of_two_published_months(chain: Path, frames: dict[str, pd.DataFrame]) -> None:
    found = compare_months(read_month(published(chain, JULY)), read_month(published(chain, OCTOBER)))
    before, after = frames["before"], frames["after"]
    assert (found.before, found.after) == ("2025-07-01/v1", "2025-10-01/v1")
    assert {name.code for name in found.entered} == set(after.index) - set(before.index) != set()
    assert {name.code for name in found.left} == set(before.index) - set(after.index) != set()
    assert {name.code for name in found.kept} == set(before.index) & set(after.index) != set()
    for name in (*found.entered, *found.left, *found.kept):
        assert name.weight_before == before["weight"].get(name.code, 0.0)
        assert name.weight_after == after["weight"].get(name.code, 0.0)
        assert name.rank_before == frames["before scores"]["Rank"].get(name.code)
        assert name.rank_after == frames["after scores"]["Rank"].get(name.code)
    for group in (found.entered, found.kept, found.left):
        assert [name.rank_after for name in group] == sorted(name.rank_after or 0 for name in group)


def test_rank_correlation_of_two_published_months(chain: Path, frames: dict[str, pd.DataFrame]) -> None:
    found = compare_months(read_month(published(chain, JULY)), read_month(published(chain, OCTOBER)))
    scores = [frames[f"{name} scores"]["Score"] for name in ("before", "after")]
    both = pd.concat(scores, axis=1, join="inner", keys=["before", "after"])
    expected = both["before"].rank().corr(both["after"].rank())
    assert found.scored_in_both == len(both)
    assert found.score_rank_correlation == pytest.approx(expected, abs=1e-12)


def test_the_correlation_with_the_parent_is_the_published_metric(chain: Path) -> None:
    found = compare_months(read_month(published(chain, JULY)), read_month(published(chain, AUGUST)))
    metrics = portfolio(chain, AUGUST).read_json("run.json")["metrics"]
    assert found.score_rank_correlation == pytest.approx(metrics["score_rank_correlation"], abs=1e-12)


def test_metrics_and_inputs_of_two_published_months(chain: Path) -> None:
    runs = {day: portfolio(chain, day).read_json("run.json") for day in (JULY, AUGUST)}
    found = compare_months(read_month(published(chain, JULY)), read_month(published(chain, AUGUST)))
    assert {row.name: (row.before, row.after) for row in found.metrics} == {
        name: (runs[JULY]["metrics"][name], runs[AUGUST]["metrics"][name]) for name in runs[JULY]["metrics"]
    }
    changes = {row.name: row.change for row in found.metrics}
    assert changes["score_rank_correlation"] is None
    assert changes["turnover"] == runs[AUGUST]["metrics"]["turnover"] - runs[JULY]["metrics"]["turnover"]
    assert {row.name for row in found.inputs} == {"hashes.panel", "hashes.plan", "hashes.scores", "parent"}
    assert found.settings == found.versions == ()


def test_a_month_with_itself_has_no_difference(chain: Path) -> None:
    july = read_month(published(chain, JULY))
    found = compare_months(july, july)
    assert found.entered == found.left == found.inputs == found.settings == found.versions == ()
    assert all(name.weight_change == 0.0 for name in found.kept)
    assert found.score_rank_correlation == pytest.approx(1.0)


books = st.dictionaries(st.sampled_from(CODES), st.floats(0.001, 1.0))
scorings = st.dictionaries(st.sampled_from(CODES), st.integers(-3, 3).map(float))


@given(books, books, scorings, scorings)
def test_any_two_books(
    before: dict[str, float], after: dict[str, float], old: dict[str, float], new: dict[str, float]
) -> None:
    one, other = content("a", before, old), content("b", after, new)
    found, back = compare_months(one, other), compare_months(other, one)
    names = [*found.entered, *found.left, *found.kept]
    assert sorted(name.code for name in names) == sorted(before.keys() | after.keys())
    assert {name.code for name in found.entered} == {name.code for name in back.left}
    assert {name.code: -name.weight_change for name in names} == {
        name.code: name.weight_change for name in (*back.entered, *back.left, *back.kept)
    }
    common = sorted(old.keys() & new.keys())
    pair = pd.DataFrame({"old": [old[c] for c in common], "new": [new[c] for c in common]}).rank()
    expected = pair["old"].corr(pair["new"]) if pair.nunique().min() > 1 else None
    if expected is None:
        assert found.score_rank_correlation is None
    else:
        assert found.score_rank_correlation == pytest.approx(expected, abs=1e-12)


@given(books, scorings, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_decides_nothing(
    weights: dict[str, float], scores: dict[str, float], shuffle: random.Random
) -> None:
    codes = list(weights)
    shuffle.shuffle(codes)
    other = content("b", {code: weights[code] for code in codes}, scores)
    empty = content("a", {}, {})
    assert compare_months(empty, content("b", weights, scores)) == compare_months(empty, other)


@pytest.mark.parametrize(
    ("run", "group", "difference"),
    [
        (changed("hashes", "bundle", to="zz"), "inputs", Difference("hashes.bundle", "aa", "zz")),
        (changed("bundle", "git_tag", to="t1"), "inputs", Difference("bundle.git_tag", "null", "t1")),
        (changed("synthetic", to=True), "inputs", Difference("synthetic", "false", "true")),
        (
            changed("parent", to={"portfolio": "2025-09-01/v1", "content_hash": "cc"}),
            "inputs",
            Difference("parent", "null", "2025-09-01/v1"),
        ),
        (changed("settings", "ranking", "top_k", to=40), "settings", Difference("ranking.top_k", "35", "40")),
        (
            changed("settings", "thresholds", to=[THRESHOLD | {"bound": 50.0}]),
            "settings",
            Difference("thresholds[positions CRITICAL].bound", "53.0", "50.0"),
        ),
        (changed("settings", "new", to=[]), "settings", Difference("new", None, "[]")),
        (changed("versions", "torch", to="2.13"), "versions", Difference("torch", None, "2.13")),
        (changed("metrics", "turnover", to=0.9), "metrics", None),
        (changed("metrics", "another", to=1), "metrics", None),
    ],
)
def test_each_difference_stands_in_its_group(
    run: dict[str, Any], group: str, difference: Difference | None
) -> None:
    found = compare_months(content("a", {}, {}), content("b", {}, {}, run))
    groups = {"inputs": found.inputs, "settings": found.settings, "versions": found.versions}
    for name, rows in groups.items():
        assert rows == ((difference,) if name == group else ())
    if group == "metrics":
        assert [row.name for row in found.metrics] == sorted(run["metrics"])


def test_a_changed_file_is_refused(chain: Path, tmp_path: Path) -> None:
    from tests.support.small_market import home_after

    home = home_after(chain, tmp_path, JULY)
    file = Path(str(portfolio(home, JULY).folder / "portfolio.csv"))
    file.write_bytes(file.read_bytes().replace(b"0.028", b"0.128"))
    with pytest.raises(Refusal, match="changed after it was written"):
        read_month(published(home, JULY))
