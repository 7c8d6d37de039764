"""Model clients of roles, answering models and checkpoints: entries of params as something that can be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spavl_dag.inference.budget import Budget
from spavl_dag.inference.client import CallCounts, ModelClient
from spavl_dag.inference.engines.pool import SHARED
from spavl_dag.inference.judges import JUDGE_FORMATS
from spavl_dag.inference.ledger import Ledger
from spavl_dag.inference.request import Decoding, ModelSpec
from spavl_dag.inference.templates import read_template
from spavl_dag.params.engines import OpenAIEngineParams, engine_options
from spavl_dag.params.judges import JudgeEntry
from spavl_dag.params.models import AskedModel
from spavl_dag.params.sections import Params
from spavl_dag.pipeline.engines import dtype_of, engine_settings
from spavl_dag.pipeline.weights import ResolvedModel, Weights
from spavl_dag.progress import Progress


class Clients:
    """Makes the clients of one making of an artifact.

    Args:
        root: The project.
        params: Checked params.
        weights: Finds weights.
        ledger: All model calls.
        owner: Artifact and partition that the calls are made for; noted with them.
        progress: Told about calls: what is asked, how many are done, how many there are.
        retry_failed: Whether calls that ended in a permanent error are made again.
    """

    def __init__(
        self,
        root: Path,
        params: Params,
        weights: Weights,
        ledger: Ledger,
        owner: tuple[str, str | None],
        progress: Progress,
        *,
        retry_failed: bool = False,
    ) -> None:
        self.counts = CallCounts()
        self._root = root
        self._params = params
        self._weights = weights
        self._ledger = ledger
        self._owner = owner
        self._progress = progress
        self._retry_failed = retry_failed

    def role(self, name: str) -> ModelClient:
        """Asks the model of a role of params.yaml, such as `judge`."""
        return self._of_entry(f"roles.{name}", getattr(self._params.roles, name))

    def answering(self, key: str) -> ModelClient:
        """Asks an answering model."""
        return self._of_entry(f"models.{key}", self._params.models[key])

    def checkpoint(self, key: str, folder: Path, prompt: str | None, max_new_tokens: int) -> ModelClient:
        """Asks a checkpoint as the policy is asked, greedily.

        Args:
            key: Its key of `experiments`.
            folder: Where it lies.
            prompt: Template file, relative to the project; None for the policy's.
            max_new_tokens: Upper bound of an answer's tokens.
        """
        policy = self._params.policy
        model = self._weights.of_artifact(folder, "checkpoint")
        decoding = Decoding(max_new_tokens=max_new_tokens)
        return self._client(
            f"checkpoints.{key}", policy.engine, model, policy.system, prompt or policy.prompt, decoding
        )

    def _make_client(self, *arguments: Any, **named: Any) -> ModelClient:
        return ModelClient(*arguments, **named)

    def _of_entry(self, role: str, entry: AskedModel) -> ModelClient:
        if self._params.is_hosted(entry):
            model = ResolvedModel(entry.model, entry.model, entry.revision or "", None)
        elif self._params.engine(entry.engine).kind == "scripted":
            model = ResolvedModel(role, entry.model, "scripted", None)  # the engine writes as the role's script says
        else:
            model = self._weights.resolve(entry.model, entry.revision)
        decoding = Decoding(**entry.decoding.model_dump())
        held_to = entry.structured_output.as_json() if entry.structured_output else None
        client = self._client(role, entry.engine, model, entry.system, entry.prompt, decoding, held_to)
        if isinstance(entry, JudgeEntry):
            client.form = JUDGE_FORMATS[entry.format]
        return client

    def _client(
        self,
        role: str,
        engine: str,
        model: ResolvedModel,
        system: str | None,
        prompt: str | None,
        decoding: Decoding,
        structured_output: str | None = None,
    ) -> ModelClient:
        entry = self._params.engine(engine)
        runtime = self._params.runtime
        settings = engine_settings(entry, runtime, engine, model)
        artifact, partition = self._owner
        return self._make_client(
            ModelSpec(
                role=role,
                engine=entry.kind,
                model=model.identity,
                revision=model.revision,
                system=system,
                template=read_template(self._root / prompt) if prompt else "",
                decoding=decoding,
                precision=dtype_of(entry),
                endpoint=entry.endpoint if isinstance(entry, OpenAIEngineParams) else None,
                structured_output=structured_output,
                engine_options=engine_options(entry),
            ),
            ledger=self._ledger,
            engine=lambda: SHARED.get(settings, model.revision),
            artifact=artifact,
            partition=partition,
            seed=self._params.seed,
            counts=self.counts,
            progress=self._progress,
            budget=Budget(runtime.budget_calls, runtime.budget_usd, runtime.budget_hours),
            retry_failed=self._retry_failed,
        )
