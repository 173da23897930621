"""Prices of a dataset: daily closes and volumes, their history, and returns."""
