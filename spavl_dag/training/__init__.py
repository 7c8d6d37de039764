"""Training of checkpoints: from rows of the dataset and a model to weights that both engines load."""
