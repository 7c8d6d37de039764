"""The report on all checkpoints: pure functions from tables to HTML, Markdown and plot data."""
