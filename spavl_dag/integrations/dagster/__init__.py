"""Dagster: assets, checks, staleness, runs."""
