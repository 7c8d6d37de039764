"""Where the project meets Dagster, DVC and MLflow: one module each. Nothing else imports or runs them."""
