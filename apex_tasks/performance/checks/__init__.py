"""The checks beside the live figures: drift, freshness, integrity, market regime."""
