"""The report's charts, each one function from numbers to an inline SVG."""
