"""The benchmarks by name. A new one is one file here: a class like its neighbours, and a line in this registry."""

from __future__ import annotations

from collections.abc import Mapping

from spavl_dag.errors import ParamsError
from spavl_dag.evaluation.benchmarks.advbench import AdvBench
from spavl_dag.evaluation.benchmarks.base import Benchmark, BenchmarkFormatError, Source
from spavl_dag.evaluation.benchmarks.captions import Captions
from spavl_dag.evaluation.benchmarks.figstep import FigStep
from spavl_dag.evaluation.benchmarks.harmbench import HarmBench
from spavl_dag.evaluation.benchmarks.jailbreakv import JailBreakV
from spavl_dag.evaluation.benchmarks.mm_safetybench import MMSafetyBench
from spavl_dag.evaluation.benchmarks.pope import Pope
from spavl_dag.evaluation.benchmarks.spa_vl import HarmEval, HelpEval
from spavl_dag.evaluation.benchmarks.vlsbench import VLSBench
from spavl_dag.evaluation.benchmarks.vqa import Vqa
from spavl_dag.evaluation.benchmarks.xstest import XSTest, XSTestContrast

__all__ = ["BENCHMARKS", "Benchmark", "BenchmarkFormatError", "Source", "benchmark_of"]

BENCHMARKS: Mapping[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        HarmEval(),
        HelpEval(),
        MMSafetyBench(),
        AdvBench(),
        FigStep(),
        HarmBench(),
        JailBreakV(),
        VLSBench(),
        XSTestContrast(),
        Pope(),
        Vqa(),
        Captions(),
        XSTest(),
    )
}
"""All benchmarks, in the order in which they are shown."""


def benchmark_of(name: str) -> Benchmark:
    """The benchmark of this name.

    Raises:
        ParamsError: There is none.
    """
    if name not in BENCHMARKS:
        raise ParamsError(
            f"evaluation.benchmarks has an unknown benchmark '{name}'", f"Known are {', '.join(BENCHMARKS)}."
        )
    return BENCHMARKS[name]
