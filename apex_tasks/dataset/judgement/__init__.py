"""The judgement of a dataset: what differs from a sound delivery is refused, or counted and told."""
