"""The runs behind docs/results.md as tables in docs/results: added to, read back, shown as the page's Markdown."""
