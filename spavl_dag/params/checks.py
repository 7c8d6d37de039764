"""What no single key of params.yaml can refuse: keys that exclude each other, and files that aren't there.

`contradictions` is asked at every reading; `missing_inputs` before a first call, for what it looks for isn't needed any
more once an artifact was made of it. Files are looked for, not read; what more is to be known (metrics, classes) is
asked of those who know it by `spavl params check`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spavl_dag.params.engines import KINDS, OpenAIRuntime
from spavl_dag.params.judges import FORMAT_FACTS
from spavl_dag.params.models import BASE_MODEL, ModelReference
from spavl_dag.params.sections import Params
from spavl_dag.params.training import RewardReader

MAX_PARTITIONS = 99
"""Dagster stops following data versions along an edge at 100 partitions."""

DRAWN_WORLD_PROMPTS = "prompts/pictograms/"
"""Templates in the words of the tiny model; a real one would answer them with anything."""

_KEY = re.compile(r"[a-z][a-z0-9_-]*")
"""Narrower than a slug: `dvc exp run -S` sets nothing below a key that begins with a digit."""

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in params.yaml that can't work.

    Attributes:
        path: The key's path.
        wrong: What is wrong with it.
        fix: How to fix it; empty where `wrong` says it.
    """

    path: str
    wrong: str
    fix: str

    def __str__(self) -> str:
        """One line."""
        return f"  {self.path}: {self.wrong}" + (f"; {self.fix}" if self.fix else "")


def contradictions(params: Params, root: Path) -> Iterator[Problem]:
    """Keys that exclude each other, and templates and taxonomies that aren't there.

    Args:
        params: Params whose sections are each right by themselves.
        root: The project's folder.
    """
    yield from _keys(params)
    yield from _engines(params)
    yield from _judges(params)
    yield from _safety_groups(params)
    yield from _trainings(params)
    if params.images.min_side**2 > params.images.max_pixels:
        wrong = f"a picture of {params.images.min_side} pixels a side has more than max_pixels"
        yield Problem("images.min_side", wrong, "lower it, or raise images.max_pixels")
    for path, file in params.prompts():
        if not (root / file).is_file():
            yield Problem(path, f"there is no file {file}", "write it, or name one of prompts/")
    if not (root / params.taxonomy.file).is_file():
        yield Problem("taxonomy.file", f"there is no file {params.taxonomy.file}", "fix the path")


def missing_inputs(params: Params, root: Path) -> Iterator[Problem]:
    """Folders, weights and files that params name and that aren't there, and templates that don't suit their model.

    Args:
        params: Params without contradictions.
        root: The project's folder.
    """
    images, evaluation, accelerate = params.images, params.evaluation, params.runtime.training.accelerate
    if images.source == "folder" and not (root / images.folder).is_dir():
        yield Problem("images.folder", f"there is no folder {images.folder}", "put your images there, or fix the path")
    elif images.source == "folder" and images.manifest and not (root / images.folder / images.manifest).is_file():
        wrong = f"there is no file {images.manifest} in {images.folder}"
        yield Problem("images.manifest", wrong, "fix the name, or set it to null for a sub-folder per class")
    for path, reference in _references(params):
        if params.has_weights(reference):
            yield from _weights(path, reference, root)
    yield from _api_keys(params)
    for name, one in evaluation.judge_check.sets.items():
        if one.file and not (root / one.file).exists():
            path, wrong = f"evaluation.judge_check.sets.{name}.file", f"there is no file or folder {one.file}"
            yield Problem(path, wrong, "put the labelled answers there (docs/how-to/evaluate.md)")
    for name, benchmark in evaluation.benchmarks.items():
        path = f"evaluation.benchmarks.{name}"
        folder = f"{evaluation.folder}/{benchmark.folder}"
        if benchmark.source == "folder" and not (root / folder).is_dir():
            wrong = f"there is no folder {folder}"
            yield Problem(f"{path}.folder", wrong, "put the official files there (docs/how-to/evaluate.md)")
        if benchmark.source == "hub" and benchmark.hub:
            yield from _weights(path, ModelReference(model=benchmark.hub, revision=benchmark.revision), root, "hub")
    if accelerate and not (root / accelerate).is_file():
        fix = "fix the path; configs/accelerate/ has some"
        yield Problem("runtime.training.accelerate", f"there is no file {accelerate}", fix)
    yield from _drawn_prompts(params)


def _keys(params: Params) -> Iterator[Problem]:
    for section, least in (("models", 2), ("experiments", 1)):
        keys = list(getattr(params, section))
        if not least <= len(keys) <= MAX_PARTITIONS:
            wrong = f"{len(keys)} entries; between {least} and {MAX_PARTITIONS} are needed"
            yield Problem(section, wrong, "add or remove some")
        for key in keys:
            if not _KEY.fullmatch(key):
                wrong = "a key begins with a letter and is made of a-z, 0-9, _ and -"
                yield Problem(f"{section}.{key}", wrong, "rename it")
    baseline = params.evaluation.baseline
    if baseline not in params.experiments:
        known = ", ".join(params.experiments)
        yield Problem("evaluation.baseline", f"'{baseline}' is no key of experiments", f"it has {known}")


def _engines(params: Params) -> Iterator[Problem]:
    """Engines that are named and aren't there, and what is said of one twice in different ways."""
    asked = [(f"{path}.engine", entry.engine) for path, entry in params.entries()]
    known = dict.fromkeys([*params.engines, *KINDS])
    for path, engine in [*asked, ("policy.engine", params.policy.engine)]:
        if engine not in known:
            yield Problem(path, f"there is no engine '{engine}'", f"use one of {', '.join(known)}")
    for path, entry in params.entries():
        if entry.structured_output and entry.engine in known and params.engine(entry.engine).kind == "transformers":
            wrong = "an engine of kind transformers holds no text to it"
            yield Problem(f"{path}.structured_output", wrong, "use one of kind vllm or openai, or leave it out")
    for name, runtime in params.runtime.engines.items():
        path = f"runtime.engines.{name}"
        if name not in known:
            yield Problem(path, f"there is no engine '{name}'", f"use one of {', '.join(known)}")
        elif runtime.kind != (kind := params.engine(name).kind):
            yield Problem(f"{path}.kind", f"{runtime.kind}, but the engine is one of {kind}", f"write {kind}")
    if params.is_hosted(params.policy):
        wrong = "checkpoints are made here, and no endpoint serves them"
        yield Problem("policy.engine", wrong, "name an engine that runs here, such as transformers")
    if params.policy.engine in known and params.engine(params.policy.engine).kind == "scripted":
        wrong = "scripted answers are for rehearsals up to the dataset, and are not evaluated"
        yield Problem("policy.engine", wrong, "name an engine that runs models, such as transformers")
    for path, entry in params.entries():
        if params.is_hosted(entry) and (entry.model == BASE_MODEL or entry.is_local):
            wrong = f"an endpoint knows its models by name, and {entry.model} is one of this project"
            yield Problem(f"{path}.model", wrong, "write the name that the endpoint serves it under")


def _judges(params: Params) -> Iterator[Problem]:
    """Formats that want an image where none is shown, or none where one is."""
    sees = params.safety_labels.sees_image
    for name in ("judge", "second_judge"):
        entry = getattr(params.roles, name)
        image = FORMAT_FACTS[entry.format].image if entry else "may"
        if (image, sees) in (("must", False), ("never", True)):
            wrong = f"'{entry.format}' {'judges the picture' if image == 'must' else 'takes no picture'}"
            fix = f"set safety_labels.sees_image to {'true' if image == 'must' else 'false'}, or choose another format"
            yield Problem(f"roles.{name}.format", wrong, fix)


def _api_keys(params: Params) -> Iterator[Problem]:
    """Variables of the environment that engines in use take their key from, and that aren't set."""
    asked = {entry.engine for _, entry in params.entries()}
    for name, runtime in params.runtime.engines.items():
        variable = runtime.api_key_env if isinstance(runtime, OpenAIRuntime) and name in asked else None
        if variable and not os.environ.get(variable, "").strip():
            wrong = f"the environment has no variable {variable}"
            yield Problem(f"runtime.engines.{name}.api_key_env", wrong, "set it to the endpoint's key")


def _safety_groups(params: Params) -> Iterator[Problem]:
    groups = params.safety_groups
    if groups.count > len(params.models):
        wrong = f"{groups.count} groups need as many models; models has {len(params.models)}"
        yield Problem("safety_groups.count", wrong, "lower it, or add models")
    if groups.method == "membership":
        stray = sorted(set(params.models) ^ set(groups.membership or {}))
        if stray:
            wrong = "must name each key of models once"
            yield Problem("safety_groups.membership", wrong, f"see {', '.join(stray)}")


def _trainings(params: Params) -> Iterator[Problem]:
    for path, entry in params.trainings():
        for group in entry.data.safety_groups or []:
            if not 1 <= group <= params.safety_groups.count:
                wrong = f"there is no group {group}"
                yield Problem(f"{path}.data.safety_groups", wrong, f"use 1 to {params.safety_groups.count}")
        if isinstance(entry, RewardReader):
            new, longest = entry.hyperparameters.max_new_tokens, entry.optimizer.max_length
            if new >= longest:
                wrong = f"{new} leaves no room for a question in optimizer.max_length {longest}"
                yield Problem(f"{path}.hyperparameters.max_new_tokens", wrong, "lower it, or raise the length")
            if params.dataset.validation_share == 0:
                wrong = f"0 leaves the reward model, which {path} reads, no pairs to be measured on"
                yield Problem("dataset.validation_share", wrong, "raise it")


def _references(params: Params) -> Iterator[tuple[str, ModelReference]]:
    """All models that params name, with the key path of their entry."""
    yield from params.entries()
    if params.base_model.source == "reference" and params.base_model.reference:
        yield "base_model.reference", params.base_model.reference
    yield "reward_model", params.reward_model
    for key, entry in params.experiments.items():
        yield f"experiments.{key}", entry


def _weights(path: str, reference: ModelReference, root: Path, key: str = "model") -> Iterator[Problem]:
    named = reference.model
    local = named == BASE_MODEL or (root / named).is_dir()
    if not local and (reference.is_local or named.count("/") > 1):
        yield Problem(f"{path}.{key}", f"there is no folder {named}", "fix the path, or name a hub id")
    elif not local and not _HUB_ID.fullmatch(named):
        yield Problem(f"{path}.{key}", f"'{named}' is neither a folder nor a hub id", "write it as owner/name")
    elif local and reference.revision:
        wrong = f"only a hub id has revisions, and {named} is none"
        yield Problem(f"{path}.revision", wrong, "leave it out")


def _drawn_prompts(params: Params) -> Iterator[Problem]:
    """Templates of the drawn world with a model that comes from elsewhere."""
    base = params.base_model.reference if params.base_model.source == "reference" else None

    def from_hub(reference: ModelReference) -> str | None:
        found = base if reference.model == BASE_MODEL else reference
        return found.model if found and not found.is_local and _HUB_ID.fullmatch(found.model) else None

    asked = [(path, entry.prompt, from_hub(entry)) for path, entry in params.entries() if entry.prompt]
    trained = {entry.model: from_hub(entry) for entry in params.experiments.values()}
    aligned = next((model for model in trained.values() if model), None)
    asked += [(path, file, aligned) for path, file in params.prompts() if path.startswith(("policy.", "evaluation."))]
    for path, file, model in asked:
        path = path if path.endswith(".prompt") else f"{path}.prompt"
        if model and Path(file).as_posix().startswith(DRAWN_WORLD_PROMPTS):
            wrong = f"{file} is in the words of the drawn world's tiny model, and {model} is another"
            yield Problem(path, wrong, "name one of prompts/")
