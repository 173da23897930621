"""Day zero: what is tried and looked at before a deployment publishes its first month; nothing here publishes."""
