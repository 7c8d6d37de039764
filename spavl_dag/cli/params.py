"""`spavl params check`."""

from __future__ import annotations

import json

from rich.console import Console

from spavl_dag.params.load import load_params
from spavl_dag.pipeline.layout import Project


def check_params(project: Project, as_json: bool) -> None:
    """Check params.yaml and the taxonomy file it names.

    Raises:
        ParamsError: Something is wrong with one of them.
        SpavlError: A benchmark is unknown, or dvc.yaml doesn't know of a prompt template that one names.
    """
    from spavl_dag.evaluation.benchmarks import benchmark_of
    from spavl_dag.pipeline.stages import Stages
    from spavl_dag.taxonomy import load_taxonomy

    params = load_params(project.params_file)
    taxonomy = load_taxonomy(project.root / params.taxonomy.file)
    stages = Stages(project)
    for name, benchmark in params.evaluation.benchmarks.items():
        benchmark_of(name)
        if benchmark.prompt:
            stages.refuse_unlisted("eval_responses", benchmark.prompt)
    facts = {
        "models": len(params.models),
        "classes": len(taxonomy.classes),
        "images": params.images.source,
        "base_model": params.base_model.source,
        "experiments": len(params.experiments),
        "benchmarks": len(params.evaluation.benchmarks),
    }
    if as_json:
        print(json.dumps(facts))
    else:
        told = ", ".join(f"{name}: {value}" for name, value in facts.items())
        Console().print(f"params.yaml is fine ({told})", highlight=False)
