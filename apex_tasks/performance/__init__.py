"""Live performance: the bundle's benchmarks, deviations from them, and the four checks that look for a cause."""
