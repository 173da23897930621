"""The product on a real panel: 431 US stocks, 2007 to 2016. See docs/real-data.md."""
