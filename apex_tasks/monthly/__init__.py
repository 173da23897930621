"""One month: the request, the steps in their order, and what they leave in the store."""
