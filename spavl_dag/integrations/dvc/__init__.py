"""DVC: stages, lock file, commands."""
