"""The features of a model: their order, their aliases, and how a dataset supplies them."""
