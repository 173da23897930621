"""What people are told: the texts, how they are rendered, and what was sent already."""
