"""Hugging Face: datasets in the forms others read."""
