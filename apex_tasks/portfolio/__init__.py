"""From scores to a book: selection, weights, orders and settlement."""
