"""Day zero: what is tried and checked before a deployment publishes its first month; nothing here publishes."""
