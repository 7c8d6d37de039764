"""Experiments to choose from, and what sets one apart from another."""
