"""Every kind of message, byte for byte as it was before templates rendered it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.notification_samples import sample_notifications

GOLDEN = json.loads((Path(__file__).parent / "golden_renderings.json").read_text())
SAMPLES = sample_notifications()


def test_every_sample_has_its_golden_rendering() -> None:
    assert SAMPLES.keys() == GOLDEN.keys()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_message_reads_as_before(name: str) -> None:
    sample = SAMPLES[name]
    assert {
        "subject": sample.subject,
        "slack": sample.slack,
        "html": sample.html,
        "markdown": sample.markdown,
    } == GOLDEN[name]
