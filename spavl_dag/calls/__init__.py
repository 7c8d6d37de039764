"""Model calls: their states, their keys, the ledger that never loses one, and the caller that makes the missing ones."""
