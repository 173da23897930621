"""The Tokyo Stock Exchange: sessions and trading costs."""
