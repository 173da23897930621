"""Second check: is the bundle whole, and the one that the newest month was published with?"""

from __future__ import annotations

from collections.abc import Mapping

from apex_tasks.bundle import read_bundle
from apex_tasks.bundle.checkpoint import load_checkpoint
from apex_tasks.bundle.manifest import verify_manifest
from apex_tasks.performance.checks.check import Check, CheckName, CheckVerdict
from apex_tasks.refusal import Refusal
from apex_tasks.settings import BundleLimits

_SHOWN_DIGITS = 12


def check_bundle(
    source: str | None, published: Mapping[str, str], portfolio: str, limits: BundleLimits
) -> Check:
    """Read the bundle anew, compare every hash of its manifest, load its weights, and compare it with a month's.

    Parameters
    ----------
    source
        The bundle; None: none is named.
    published
        `hashes` of the newest published run.json: `bundle` and `checkpoint`.
    portfolio
        Name of that month.
    """
    if source is None:
        return Check(
            name=CheckName.INTEGRITY,
            verdict=CheckVerdict.UNKNOWN,
            finding="no bundle is named, so none was read",
            remedy="Set APEX_BUNDLE for all components, or pass the bundle to this run.",
        )
    try:
        files = read_bundle(source, limits)
        manifest = verify_manifest(files)
        path = manifest.checkpoint_path
        load_checkpoint(files.contents[path], path)
    except Refusal as refusal:
        return Check(
            name=CheckName.INTEGRITY,
            verdict=CheckVerdict.ATTENTION,
            finding=f"{refusal.what}: expected {refusal.expected}, received {refusal.received}",
            remedy=refusal.remedy,
        )
    received = {"bundle": files.sha256, "checkpoint": files.hashes[path]}
    verified = f"{len(files.contents)} files match MANIFEST.lock"
    different = [
        f"{name} {digest[:_SHOWN_DIGITS]} here, {published[name][:_SHOWN_DIGITS]} there"
        for name, digest in received.items()
        if digest != published[name]
    ]
    if not different:
        return Check(
            name=CheckName.INTEGRITY,
            verdict=CheckVerdict.OK,
            finding=f"{verified}, and bundle {files.sha256[:_SHOWN_DIGITS]} is the one that published {portfolio}",
        )
    return Check(
        name=CheckName.INTEGRITY,
        verdict=CheckVerdict.ATTENTION,
        finding=f"{verified}, but it is not the bundle that published {portfolio}: {'; '.join(different)}",
        remedy="Find out who changed the bundle and whether on purpose; compare its hash with the sender's.",
    )
