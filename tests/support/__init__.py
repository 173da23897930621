"""What tests share: markets, bundles, oracles, servers, faults."""
