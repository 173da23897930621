"""What every request passes: headers, limits, counts."""
