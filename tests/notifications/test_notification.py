"""The renderings of a message: harmless whatever a text from data says, and never too long."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.notifications.messages import task_failed
from apex_tasks.notifications.notification import SUBJECT_CHARACTERS
from apex_tasks.refusal import Refusal
from tests.support.notification_samples import REFUSAL, RUN, question, sample_notifications
from tests.support.paths import ROOT
from tests.support.visible_text import VisibleText

GOLDEN = json.loads((Path(__file__).parent / "golden_renderings.json").read_text())
SAMPLES = sample_notifications()


def test_every_sample_has_its_golden_rendering() -> None:
    assert SAMPLES.keys() == GOLDEN.keys()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_message_is_byte_for_byte_what_its_readers_know(name: str) -> None:
    """The golden file was written before templates rendered the messages."""
    sample = SAMPLES[name]
    assert {
        "subject": sample.subject,
        "slack": sample.slack,
        "html": sample.html,
        "markdown": sample.markdown,
    } == GOLDEN[name]


@given(st.text(max_size=200))
def test_nothing_from_data_marks_up_the_question(text: str) -> None:
    facts = question(warnings=(text,)).markdown.splitlines()
    (shown,) = [line for line in facts if line.startswith("- **Data warning:** ")]
    value = shown.removeprefix("- **Data warning:** ")
    assert not set(re.sub(r"\\[!-/:-@\[-`{-~]", "", value)) & set(r"""!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~""")
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", value) == " ".join(text.split())


@given(st.text(st.characters(codec="utf-8", categories=("L", "P", "S", "Zs", "Cc")), max_size=300))
def test_no_text_of_an_error_becomes_markup(text: str) -> None:
    error = Refusal(text, expected=text, received=text, where=text, remedy=text)
    notification = task_failed(RUN, "infer", error, "http://airflow/log")
    plain = task_failed(RUN, "infer", REFUSAL, "http://airflow/log")
    assert "\n" not in notification.subject
    assert "\r" not in notification.subject
    assert VisibleText(notification.html).tags <= {*VisibleText(plain.html).tags, "br"}
    assert VisibleText(notification.html).addresses == VisibleText(plain.html).addresses
    assert re.findall(r"<[^>]*>", notification.slack) == re.findall(r"<[^>]*>", plain.slack)
    assert re.search(r"&(?!amp;|lt;|gt;)", notification.slack) is None


def test_an_overlong_error_is_cut_and_says_so() -> None:
    notification = task_failed(RUN, "infer", ValueError("x" * 5000), "http://airflow/log")
    assert len(notification.subject) < SUBJECT_CHARACTERS + 50
    assert "more characters in the log)" in notification.subject
    assert len(notification.slack) < 3000
    assert "(3512 more characters in the log)" in notification.slack


def test_a_message_that_nobody_reads_loads_no_templates() -> None:
    """A component of Airflow that parses DAG files may build messages, but does not render them."""
    code = (
        "import sys; import apex_tasks.notifications.messages; "
        "print([name for name in ('jinja2', 'markupsafe', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
