"""Model calls: their states, their keys, the ledger that never loses one, and who makes the missing ones."""
