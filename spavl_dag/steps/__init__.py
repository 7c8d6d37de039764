"""One module per artifact: pure functions from tables to tables, without files, Dagster, DVC or MLflow."""
