"""Alert thresholds, gauges and how they leave the process."""
