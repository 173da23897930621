"""Model bundles: unpacking, manifest, checkpoint and the handshake between them."""
