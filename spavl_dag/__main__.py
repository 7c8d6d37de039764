"""`python -m spavl_dag` is the same as `spavl`."""

from spavl_dag.cli import main

if __name__ == "__main__":
    main()
