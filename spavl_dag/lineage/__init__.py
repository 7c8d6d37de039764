"""Where a row comes from."""
