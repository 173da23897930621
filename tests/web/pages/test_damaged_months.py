"""A damaged month is shown as that, and hides no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from apex_tasks.web.pages.responses import PAGE_HEADERS
from apex_tasks.web.pages.run_banner import RunState
from tests.support.pages import DAG_ID, Page, Serve, client, folder, replace
from tests.support.small_market import (
    AUGUST,
    OCTOBER,
)


def flip(data: bytes) -> bytes:
    return data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "run.json flipped": lambda of: (of / "run.json").write_bytes(flip((of / "run.json").read_bytes())),
    "run.json gone": lambda of: (of / "run.json").unlink(),
    "run.json a folder": lambda of: ((of / "run.json").unlink(), (of / "run.json").mkdir()),
    "manifest cut": lambda of: (of / "manifest.json").write_bytes((of / "manifest.json").read_bytes()[:40]),
    "manifest empty": lambda of: (of / "manifest.json").write_bytes(b""),
    "manifest a list": lambda of: (of / "manifest.json").write_text("[]"),
    "manifest without files": lambda of: (of / "manifest.json").write_text(
        '{"files": {}, "identity": [], "details": {}}'
    ),
    "manifest of nonsense": lambda of: (of / "manifest.json").write_text(
        '{"files": {"run.json": 5, "report.html": null}, "identity": 3, "details": null}'
    ),
    "manifest of lists": lambda of: (of / "manifest.json").write_text(
        '{"files": ["run.json"], "identity": [], "details": {}}'
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_month_says_so_and_hides_no_other(serve: Serve, copied: Path, damage: str) -> None:
    DAMAGES[damage](folder(copied, AUGUST))
    web = serve(copied, run=RunState(run_id="run", state="success", published="2025-08-01/v1"))
    rows = Page(web.get("/apex/months").text).rows[1:]
    assert [row[2].strip()[2:] for row in rows] == ["OK", "OK", "DAMAGED", "OK"]
    for path in (
        "/portfolio-files/2025-08-01/v1/run.json",
        "/months/2025-08-01/v1",
        "/compare?from=2025-08-01/v1&to=2025-10-01/v1",
        f"/report/{DAG_ID}/run",
    ):
        answer = web.get(f"/apex{path}")
        assert answer.status_code in (404, 503), (path, answer.text[-500:])
        assert "Traceback" not in answer.text
    assert web.get("/apex/months/2025-07-01/v1").status_code == 200


@pytest.mark.parametrize(
    "content", [b"null", b"[]", b"{}", b'{"alerts": [], "warnings": [], "metrics": 1}', b"not json", b"\xff"]
)
def test_a_run_file_of_another_form_is_damage(serve: Serve, copied: Path, content: bytes) -> None:
    replace(copied, AUGUST, "run.json", content)
    web = serve(copied)
    assert [row[2].strip()[2:] for row in Page(web.get("/apex/months").text).rows[1:]][2] == "DAMAGED"
    assert web.get("/apex/months/2025-08-01/v1").status_code == 503
    assert web.get("/apex/compare?from=2025-08-01/v1&to=2025-10-01/v1").status_code == 503


@pytest.mark.parametrize("content", [b"", b"code,weight\n1,x\n", b"\xff\xfe", b"a\n1\n"])
def test_a_table_of_another_form_is_damage(serve: Serve, copied: Path, content: bytes) -> None:
    replace(copied, AUGUST, "portfolio.csv", content)
    replace(copied, OCTOBER, "scores.parquet", content)
    for day in ("2025-08-01", "2025-10-01"):
        assert serve(copied).get(f"/apex/compare?from=2025-07-01/v1&to={day}/v1").status_code == 503


def test_a_store_that_is_none_is_one_readable_refusal(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    answer = serve(tmp_path / "file").get("/apex/months")
    assert answer.status_code == 503
    assert "the store is not a folder" in answer.text
    monkeypatch.setenv("APEX_RANKING__TOP_K", "many")
    answer = serve(tmp_path).get("/apex/months")
    assert answer.status_code == 503
    assert "What to do" in answer.text


def test_what_nobody_expected_is_a_page_and_a_log_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: str) -> RunState | None:
        raise RuntimeError("secret of the database")

    monkeypatch.setenv("APEX_HOME", str(tmp_path))
    answer = client(broken).get(f"/apex/report/{DAG_ID}/run")
    assert answer.status_code == 500
    assert "Something went wrong" in answer.text
    assert "secret" not in answer.text
    assert answer.headers["content-security-policy"] == PAGE_HEADERS["Content-Security-Policy"]
    assert "secret of the database" in caplog.text
