"""What a series of values, returns, scores or features says, and how sure one can be of it."""
