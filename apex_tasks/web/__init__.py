"""The web application: published results and, standalone, predictions."""
