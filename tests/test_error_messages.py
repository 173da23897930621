"""Every refusal in the package: one complete message of five parts, and it survives process pools."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest

import apex_tasks
from apex_tasks.refusal import CheckFailed, Refusal, ThresholdBroken

PACKAGE = Path(apex_tasks.__file__).parent
PARTS = {"expected", "received", "where", "remedy"}


def refusals() -> list[tuple[str, ast.Call]]:
    """Each place of the package that words a refusal."""
    return [
        (f"{path.relative_to(PACKAGE)}:{node.lineno}", node)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("Refusal", "ThresholdBroken", "CheckFailed")
    ]


def literal(node: ast.expr) -> str | None:
    """Text of a string or f-string, with X for each value; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
    return None


ALL = refusals()


def test_there_are_refusals_to_check() -> None:
    assert len(ALL) > 40


@pytest.mark.parametrize("call", [call for _, call in ALL], ids=[place for place, _ in ALL])
def test_a_refusal_has_all_parts_and_ends_with_what_to_do(call: ast.Call) -> None:
    assert {keyword.arg for keyword in call.keywords} == PARTS
    assert len(call.args) == 1
    what = literal(call.args[0])
    if what is not None:
        assert what == what.strip()
        assert not what.endswith((".", ":")), "the parts follow after a colon"
    remedy = literal(next(keyword.value for keyword in call.keywords if keyword.arg == "remedy"))
    if remedy is not None:
        assert remedy.endswith((".", ".X"))
        assert remedy[0].isupper()
        assert len(remedy) > 10


def test_the_message_is_one_line_in_a_fixed_order() -> None:
    refusal = Refusal("x differs", expected=1, received=[2], where="file, column y", remedy="Mend it.")
    assert str(refusal) == "x differs: expected=1, received=[2], where=file, column y. What to do: Mend it."


@pytest.mark.parametrize(("kind", "code"), [(Refusal, 3), (ThresholdBroken, 4), (CheckFailed, 4)])
def test_a_refusal_survives_a_process_pool(kind: type[Refusal], code: int) -> None:
    refusal = kind("x differs", expected=1, received=None, where=Path("f"), remedy="Mend it.")
    copy = pickle.loads(pickle.dumps(refusal))
    assert type(copy) is kind
    assert str(copy) == str(refusal)
    assert copy.exit_code == code
