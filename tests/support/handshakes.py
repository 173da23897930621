"""Handshakes of drafted bundles."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from apex_tasks.bundle import BundleFiles, ResolvedBundle, resolve_bundle
from apex_tasks.refusal import Refusal
from tests.support.bundle_factory import (
    Draft,
    settings,
)

HASH = "6702b323458e9786"


def shake(draft: Draft, dataset: Path, **sections: dict[str, Any]) -> ResolvedBundle:
    return resolve_bundle(BundleFiles("bundle", draft.seal()), dataset, settings(**sections))


def refused(draft: Draft, dataset: Path, what: str, **sections: dict[str, Any]) -> Refusal:
    with pytest.raises(Refusal, match=what) as caught:
        shake(draft, dataset, **sections)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    return caught.value


def without_claims(draft: Draft) -> Draft:
    for entry in ("checkpoint", "config"):
        draft.manifest[entry] = {"file": draft.manifest[entry]["file"]}
    del draft.manifest["expected_behavior"]
    return draft


def group_bytes(names: list[str]) -> bytes:
    return yaml.safe_dump({"groups": {"all": {"include": names}}}, sort_keys=False).encode()
