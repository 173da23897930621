"""What operators are sent: the texts, how they are rendered, and what was sent already."""
