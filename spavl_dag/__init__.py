"""The library behind the DAG: everything an asset in `assets/` calls.

Belongs here: nothing but the version. Importing the package must stay free of cost, because `spavl --help`,
`dagster dev` and every `dvc repro` stage start with it; heavy libraries are imported where they are used.
"""

__version__ = "0.1.0"
