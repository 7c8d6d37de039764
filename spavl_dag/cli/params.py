"""`spavl params check`: all that can be known before a first model call."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rich.console import Console

from spavl_dag.params.checks import Problem, missing_inputs
from spavl_dag.params.load import load_params, refuse
from spavl_dag.params.sections import Params
from spavl_dag.pipeline.layout import Project
from spavl_dag.taxonomy import Taxonomy, load_taxonomy


def check_params(project: Project, as_json: bool) -> None:
    """Check params.yaml and all it names.

    Raises:
        ParamsError: Something is wrong; all problems are listed.
        SpavlError: dvc.yaml isn't what they want.
    """
    from spavl_dag.integrations.dvc.stages_file import refuse_outdated
    from spavl_dag.pipeline.load import load_graph

    params, taxonomy = ready_params(project)
    refuse_outdated(load_graph(project))
    facts: dict[str, int | str] = {
        "models": len(params.models),
        "classes": len(taxonomy.classes),
        "images": params.images.source,
        "base_model": params.base_model.source,
        "experiments": len(params.experiments),
        "benchmarks": len(params.evaluation.benchmarks),
    }
    if scripted := params.scripted():
        facts["scripted"] = f"{len(scripted)} roles and models, so this is a rehearsal: it ends with the dataset"
    if as_json:
        print(json.dumps(facts))
    else:
        told = ", ".join(f"{name}: {value}" for name, value in facts.items())
        Console().print(f"params.yaml is fine ({told})", highlight=False)


def ready_params(project: Project) -> tuple[Params, Taxonomy]:
    """Params and taxonomy with which everything can be made, as far as that can be known.

    Raises:
        ParamsError: Something is wrong; all problems are listed.
    """
    from spavl_dag.evaluation.checks import evaluation_problems

    params = load_params(project.params_file)
    taxonomy = load_taxonomy(project.root / params.taxonomy.file)
    problems = [
        *missing_inputs(params, project.root),
        *evaluation_problems(params),
        *_templates(params, project),
        *_classes(params, taxonomy),
        *_keywords(params, taxonomy),
        *_batches(params, project),
    ]
    refuse(problems, project.params_file.name)
    return params, taxonomy


def _templates(params: Params, project: Project) -> Iterator[Problem]:
    from spavl_dag.errors import ParamsError
    from spavl_dag.inference.templates import compile_template, read_template

    for path, file in params.prompts():
        try:
            compile_template(read_template(project.root / file), path)
        except ParamsError as error:
            yield Problem(path, error.message, f"fix {file}")


def _classes(params: Params, taxonomy: Taxonomy) -> Iterator[Problem]:
    """Classes that trainings are restricted to and that the taxonomy doesn't have."""
    known = {harm.slug for harm in taxonomy.classes}
    for path, entry in params.trainings():
        if strange := sorted(set(entry.data.classes or ()) - known):
            wrong = f"the taxonomy has no class {', '.join(strange)}"
            yield Problem(f"{path}.data.classes", wrong, f"see {params.taxonomy.file}")


def _keywords(params: Params, taxonomy: Taxonomy) -> Iterator[Problem]:
    """Classes that the taxonomy file gives no keywords, where keywords are taken from it."""
    bare = [harm.slug for harm in taxonomy.classes if not harm.keywords]
    if params.keywords.source == "file" and bare:
        some = ", ".join(bare[:5]) + (", …" if len(bare) > 5 else "")
        wrong = f"{params.taxonomy.file} has no keywords for {len(bare)} class(es): {some}"
        yield Problem("keywords.source", wrong, "list some there, or set it to `model`: roles.keywords writes them")


def _batches(params: Params, project: Project) -> Iterator[Problem]:
    """Batches that can't be spread evenly over the devices of this machine's config."""
    from spavl_dag.errors import ParamsError
    from spavl_dag.training.batches import split_batch
    from spavl_dag.yamls import load_yaml

    runtime = params.runtime.training
    processes = 1
    if runtime.accelerate and (file := project.root / runtime.accelerate).is_file():
        processes = load_yaml(file.read_text(encoding="utf-8")).get("num_processes", 1)
    for path, entry in params.trainings():
        try:
            split_batch(entry.optimizer.batch_size, runtime.per_device_batch, processes)
        except ParamsError as error:
            yield Problem(f"{path}.optimizer.batch_size", error.message, error.hint or "")
