"""params.yaml as typed sections; no heavy import."""
