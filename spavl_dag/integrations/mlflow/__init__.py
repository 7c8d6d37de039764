"""MLflow: runs of generations, checkpoints and evaluations."""
