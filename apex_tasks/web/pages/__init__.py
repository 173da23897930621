"""HTML for people: published months, the tab of a run, files."""
