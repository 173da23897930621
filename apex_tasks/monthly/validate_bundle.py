"""Step validate_bundle: nothing of a bundle is used before all of it has been checked."""

from __future__ import annotations

from pathlib import Path

from apex_tasks.bundle import ResolvedBundle, materialize_bundle, open_checkpoint, read_bundle, resolve_bundle
from apex_tasks.settings import ApexSettings

__all__ = ["open_checkpoint", "validate_bundle"]


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
