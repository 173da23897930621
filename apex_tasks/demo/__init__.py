"""A synthetic Tokyo market and a bundle trained on it: for demonstration and tests, never for trading."""
