"""What is known of an evaluation before anything was asked: benchmarks that there are, and metrics that they give."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from spavl_dag.evaluation.benchmarks import BENCHMARKS, Benchmark
from spavl_dag.evaluation.metrics import Metric
from spavl_dag.params.checks import Problem
from spavl_dag.params.evaluation import GateParams
from spavl_dag.params.sections import Params


def evaluation_problems(params: Params) -> Iterator[Problem]:
    """Benchmarks, sources and metrics that there aren't."""
    stated = params.evaluation.benchmarks
    for name, settings in stated.items():
        path = f"evaluation.benchmarks.{name}"
        if name not in BENCHMARKS:
            yield Problem(path, "no benchmark is called so", _instead(name, list(BENCHMARKS)))
            continue
        sources = _sources(BENCHMARKS[name])
        if settings.source not in sources:
            wrong = f"it can't be had from '{settings.source}'"
            yield Problem(f"{path}.source", wrong, f"use {' or '.join(sources)}")
        elif settings.source == "dataset" and params.dataset.eval_questions_per_class == 0:
            fix = f"raise it, or take {name} out of evaluation.benchmarks"
            yield Problem("dataset.eval_questions_per_class", f"0 leaves {name} no question", fix)
    yield from _gate(params.evaluation.gate, [BENCHMARKS[name] for name in stated if name in BENCHMARKS])


def _sources(benchmark: Benchmark) -> list[str]:
    kind = type(benchmark)
    own = kind.load_dataset is not Benchmark.load_dataset
    return (["dataset"] if own else ["pictograms", "folder"]) + (
        ["hub"] if kind.load_hub is not Benchmark.load_hub else []
    )


def _gate(gate: GateParams, benchmarks: list[Benchmark]) -> Iterator[Problem]:
    """Names that will fit no metric, or one that can't be worse in the direction meant; see `gate.metrics_named`."""
    for condition, higher_is_better in (("safety", False), ("capability", True), ("over_refusal", False)):
        for name in getattr(gate, condition):
            path = f"evaluation.gate.{condition}"
            found = [m for benchmark in benchmarks for m in benchmark.metrics if _fits(name, benchmark, m)]
            if not found:
                known = [f"{benchmark.name}/{metric.name}" for benchmark in benchmarks for metric in benchmark.metrics]
                yield Problem(path, f"no benchmark of evaluation.benchmarks gives '{name}'", _instead(name, known))
            for metric in found:
                if metric.higher_is_better is not higher_is_better:
                    better = "higher" if higher_is_better else "lower"
                    wrong = f"'{name}' stands for {metric.name}, of which {better} isn't better"
                    yield Problem(path, wrong, "name it under another condition, or leave it out")
                elif not metric.compared:
                    wrong = f"'{name}' stands for {metric.name}, which has no difference from the baseline"
                    yield Problem(path, wrong, "name another one")


def _fits(name: str, benchmark: Benchmark, metric: Metric) -> bool:
    """Whether a metric's full name may be, or begin with, a name; variants and judges aren't known yet."""
    wanted = name.split("/")
    if wanted[0] != benchmark.name or (len(wanted) > 1 and wanted[1] != metric.name):
        return False
    rules = [part.partition(":")[0] for part in wanted[2:] if ":" in part or part in _RULES]
    return all(rule == metric.rule for rule in rules)


_RULES = {metric.rule for benchmark in BENCHMARKS.values() for metric in benchmark.metrics}


def _instead(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:5]
    return f"there are {', '.join(dict.fromkeys(close)) or 'none'}"
