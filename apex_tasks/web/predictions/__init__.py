"""Scores over HTTP: inputs, cache, one computation for many callers."""
