"""Model bundles: unpacking, manifest, checkpoint and the handshake between them."""

from apex_tasks.bundle.archive import BundleFiles, read_bundle
from apex_tasks.bundle.handshake import resolve_bundle
from apex_tasks.bundle.local_copy import materialize_bundle, open_checkpoint
from apex_tasks.bundle.resolved import ModelDimensions, ResolvedBundle
from apex_tasks.bundle.writer import write_bundle

__all__ = [
    "BundleFiles",
    "ModelDimensions",
    "ResolvedBundle",
    "materialize_bundle",
    "open_checkpoint",
    "read_bundle",
    "resolve_bundle",
    "write_bundle",
]
