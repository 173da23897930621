"""Datasets that chance has spoiled are scored or refused: no traceback, no hang, less than 2 GB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fault_table.mutations import KINDS, kind_of, make_base, score
from tests.support.paths import ROOT

MOST_BYTES = 2 * 10**9
IN_ALL, AT_ONCE = 480, 160


def require_sound_end(ended: dict[str, object]) -> None:
    """Done or refused in one message."""
    assert "bug" not in ended, ended
    assert ended["code"] in (0, 3), ended
    if ended["code"] == 3:
        assert str(ended["told"]).startswith("['REFUSED ") or str(ended["told"]).startswith('["REFUSED '), (
            ended
        )


def test_one_mutation_of_each_kind(tmp_path: Path) -> None:
    table, bundle = make_base(tmp_path)
    for seed in range(len(KINDS)):
        require_sound_end(score(seed, table, bundle, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, IN_ALL, AT_ONCE))
def test_many_mutations_in_a_process_of_their_own(tmp_path: Path, first: int) -> None:
    program = [sys.executable, "-m", "tests.support.fault_table.mutations", tmp_path, first, first + AT_ONCE]
    done = subprocess.run(
        list(map(str, program)), cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (ends[-1:], done.stderr[-2_000:])
    assert [ended["seed"] for ended in ends] == list(range(first, first + AT_ONCE))
    for ended in ends:
        require_sound_end(ended)
        assert ended["peak_bytes"] < MOST_BYTES, ended
    assert {ended["code"] for ended in ends} == {0, 3}


def test_every_kind_has_its_turn() -> None:
    assert IN_ALL >= 400
    assert {kind_of(seed) for seed in range(AT_ONCE)} == set(KINDS)
