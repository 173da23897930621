"""Datasets: schema, freshness, feature lists, features from prices, and panels."""
