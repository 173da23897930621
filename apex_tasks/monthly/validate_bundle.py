"""Step validate_bundle: nothing of a bundle is used before all of it has been checked."""

from __future__ import annotations

import tempfile
from pathlib import Path

from apex_tasks.bundle import ResolvedBundle, materialize_bundle, read_bundle, resolve_bundle
from apex_tasks.monthly.request import RunRequest
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings
from apex_tasks.store import Store, canonical_json, content_key, local_path

HANDSHAKES, RESOLVED_FILE = "handshakes", "resolved.json"


def validate_bundle(
    bundle: str | Path, dataset: str | Path, settings: ApexSettings, bundles_folder: Path | None = None
) -> ResolvedBundle:
    """Check a bundle against its manifest, itself and a dataset's schema.

    Parameters
    ----------
    bundle
        Local folder or .tar.gz.
    dataset
        Local parquet file; only its footer is read.
    settings
        Requested horizon, features mode and limits.
    bundles_folder
        Local folder to keep the verified files in, which `open_checkpoint` and a repeated run then read.

    Returns
    -------
    ResolvedBundle
        All hashes, sizes and parameters; `settings_block()` prints them.

    Raises
    ------
    Refusal
        Naming what disagrees, where, and what to do.
    """
    files = read_bundle(bundle, settings.bundle_limits)
    resolved = resolve_bundle(files, dataset, settings)
    if bundles_folder is None:
        return resolved
    folder = materialize_bundle(files, Path(bundles_folder))
    return resolved.model_copy(update={"folder": folder})


def resolve_and_store_bundle(request: RunRequest, store: Store) -> str:
    """Validate the request's bundle against its dataset, keep both, and return the handshake's key.

    Raises
    ------
    Refusal
        See `validate_bundle`; or the bundle is for evaluation only, and the run would publish.
    """
    resolved = validate_bundle(
        request.bundle, request.dataset, request.settings, bundles_folder=bundles_folder(store)
    )
    if resolved.evaluation_only and not request.dry_run:
        raise Refusal(
            "the bundle is for evaluation only, so nothing of it is published",
            expected="a bundle that may be traded by",
            received="evaluation_only in its MANIFEST.lock",
            where=resolved.source,
            remedy="Point APEX_BUNDLE at the released bundle; a dry run or a backtest takes this one.",
        )
    document = resolved.model_dump(mode="json")
    key = content_key(handshake=document)
    store.write(HANDSHAKES, key, files={RESOLVED_FILE: canonical_json(document)})
    return key


def load_resolved_bundle(store: Store, key: str, request: RunRequest) -> ResolvedBundle:
    """Read a handshake; on a worker without the kept files, keep them again from the same bundle.

    Raises
    ------
    Refusal
        The handshake is not in the store, or the bundle is another one by now.
    """
    resolved = ResolvedBundle.model_validate(store.get(HANDSHAKES, key).read_json(RESOLVED_FILE))
    if resolved.folder is not None and resolved.folder.is_dir():
        return resolved
    files = read_bundle(resolved.source, request.settings.bundle_limits)
    if files.sha256 != resolved.bundle_sha256:
        raise Refusal(
            "the bundle was changed since it was validated",
            expected=f"bundle_sha256 {resolved.bundle_sha256}",
            received=files.sha256,
            where=resolved.source,
            remedy="Clear validate_bundle and the steps after it.",
        )
    return resolved.model_copy(update={"folder": materialize_bundle(files, bundles_folder(store))})


def bundles_folder(store: Store) -> Path:
    """Local folder of kept bundles: in the store, or beside it when the store is remote."""
    root = local_path(store.root)
    return (root if root is not None else Path(tempfile.gettempdir()) / "apex-batch") / "bundles"
