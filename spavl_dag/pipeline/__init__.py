"""A project on disk: its layout, params, stages and artifacts, and how an artifact is made."""
