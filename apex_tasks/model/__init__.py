"""The PatchTST ranker: architecture, scoring and training."""
