"""The reward model: a scalar head on a vision language model, its training, and what it is worth."""
