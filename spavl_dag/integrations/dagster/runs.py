"""Runs that Dagster started: those whose process is gone, and waiting for the pool of models.

Dagster keeps a claim on a pool in its database, and a process that is killed never takes it back. So every process
that executes a run holds a file lock meanwhile, which the system takes away with the process: a lock that can be taken
tells that the run is over, whatever Dagster's database says. No process id can be mistaken for another that way.
"""

# No postponed annotations here: Dagster reads those of an executor when it is defined.

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

# No public names: how Dagster executes the steps of a run in one process, and how it claims a pool for each.
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.execute_plan import inner_plan_execution_iterator
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.storage.runs.sqlite import SqliteRunStorage
from dagster._utils.interrupts import check_captured_interrupt

Tell = Callable[[str], None]
"""Takes a line for the user."""

LOCKS = "run_locks"
"""Folder of the lock files, in the home of the instance whose runs they are of."""

UNFINISHED = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
"""What a run may be while a process works on it; one in Dagster's queue has none."""

_POLL_SECONDS = 0.5
_CLEAR_SECONDS = 2.0
_SECONDS_WITHOUT_LOCK = 180.0  # Dagster launches a run, which loads the code before it can take its lock

_held: dict[str, int] = {}
"""File descriptors of the locks of this process, by run id."""


def clear_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs whose process is gone as failed, and give their claims on pools back.

    Returns:
        The runs that were marked, in words.
    """
    locks = _folder(instance)
    if locks is None:
        return []
    records = instance.get_run_records(dg.RunsFilter(statuses=list(UNFINISHED)))
    waiting = {record.dagster_run.run_id: record.update_timestamp.timestamp() for record in records}
    claiming = instance.event_log_storage.get_concurrency_run_ids()
    left = {file.stem for file in locks.glob("*.lock")} if locks.is_dir() else set()
    marked = []
    for run_id in sorted(waiting.keys() | claiming | left):
        with _taken(locks, run_id) as gone:
            # Without a lock file it is starting, or it was killed while it started, or it is of an older version.
            if gone is None and run_id in waiting:
                gone = time.time() - waiting[run_id] > _SECONDS_WITHOUT_LOCK
            if gone is not False and _end(instance, run_id):
                marked.append(f"{run_id[:8]} ({_note(locks, run_id).get('makes', 'unknown')})")
            if gone:
                _file(locks, run_id).unlink(missing_ok=True)
    return marked


def hold(instance: dg.DagsterInstance, run_id: str, steps: Sequence[str]) -> None:
    """Take the lock of a run until it is released or this process ends."""
    locks = _folder(instance)
    if locks is None:
        return
    locks.mkdir(exist_ok=True)
    # It gets its name when it is locked: nobody may find it free.
    unnamed = locks / f"{run_id}.{os.getpid()}"
    _held[run_id] = os.open(unnamed, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(_held[run_id], fcntl.LOCK_EX)
    os.write(_held[run_id], json.dumps({"pid": os.getpid(), "makes": ", ".join(steps)}).encode())
    unnamed.rename(_file(locks, run_id))


class Claims(InstanceConcurrencyContext):
    """Claims on pools that say what they wait for, that see a dead holder, and that can be interrupted."""

    def __init__(self, instance: dg.DagsterInstance, run: dg.DagsterRun, tell: Tell) -> None:
        super().__init__(instance, run)
        self._tell = tell
        self._told = ""
        self._cleared = 0.0

    def claim(self, concurrency_key: str, step_key: str, step_priority: int = 0) -> bool:
        """Whether the step may run now."""
        if check_captured_interrupt():
            raise dg.DagsterExecutionInterruptedError()
        self._pending_timeouts[step_key] = 0.0  # Dagster would look again after up to 15 s only
        if super().claim(concurrency_key, step_key, step_priority):
            return True
        if time.monotonic() - self._cleared > _CLEAR_SECONDS:
            clear_dead_runs(self._instance)
            storage: Any = self._instance.event_log_storage
            # A process that was killed while it gave its claim back has not passed it on.
            if storage.has_unassigned_slots(concurrency_key):
                storage.assign_pending_steps([concurrency_key])
            self._cleared = time.monotonic()
        holders = _holders(self._instance, concurrency_key)
        if holders and holders != self._told:
            self._tell(f"waiting for {holders}")
            self._told = holders
        return False

    def interval_to_next_pending_claim_check(self) -> float:
        """How long to sleep; Dagster's own answer is never above zero, which takes a whole core."""
        return _POLL_SECONDS if self.has_pending_claims() else 0.0


class OneProcess(InProcessExecutor):
    """Dagster's in-process executor with the lock of its run and with claims that can wait."""

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        """Execute all steps in this process, which is the run's own."""
        # Never released: a run that is not marked as finished yet must not look dead.
        hold(plan_context.instance, plan_context.run_id, execution_plan.step_keys_to_execute)
        clear_dead_runs(plan_context.instance)
        yield from ExecuteRunWithPlanIterable(
            execution_plan=execution_plan,
            iterator=_execute_steps,
            execution_context_manager=PlanExecutionContextManager(
                job=plan_context.job,
                retry_mode=plan_context.retry_mode,
                execution_plan=execution_plan,
                run_config=plan_context.run_config,
                dagster_run=plan_context.dagster_run,
                instance=plan_context.instance,
                raise_on_error=plan_context.raise_on_error,
                output_capture=plan_context.output_capture,
                step_dependency_config=self.step_dependency_config,
            ),
        )


@dg.executor(name="one_process")
def one_process(_context: dg.InitExecutorContext) -> OneProcess:
    """One process per run: the answering models share weights, which are loaded once."""
    return OneProcess(retries=RetryMode.DISABLED)


def _execute_steps(job_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
    with Claims(job_context.instance, job_context.dagster_run, job_context.log.info) as claims:
        yield from inner_plan_execution_iterator(job_context, execution_plan, claims)


def _folder(instance: dg.DagsterInstance) -> Path | None:
    """Where the lock files are; None for an instance whose runs may be of other machines."""
    if not instance.is_persistent or not isinstance(instance.run_storage, SqliteRunStorage):
        return None
    return Path(instance.root_directory) / LOCKS


def _file(locks: Path, run_id: str) -> Path:
    return locks / f"{run_id}.lock"


def _note(locks: Path, run_id: str) -> dict[str, Any]:
    try:
        return dict(json.loads(_file(locks, run_id).read_text()))
    except (OSError, ValueError):
        return {}


@contextmanager
def _taken(locks: Path, run_id: str) -> Iterator[bool | None]:
    """Hold a run's lock if it can be had: gives whether its process is gone, None when there is no lock."""
    try:
        descriptor = os.open(_file(locks, run_id), os.O_RDWR)
    except OSError:
        yield None
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone = True
        except OSError:
            gone = False
        yield gone
    finally:
        os.close(descriptor)


def _end(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Give a dead run's claims back; gives whether it had to be marked as ended."""
    run = instance.get_run_by_id(run_id)
    unfinished = run is not None and run.status in UNFINISHED
    if run is not None and unfinished:
        message = (
            "The process of this run is gone: it was killed, or the machine stopped. "
            "Model calls it finished are kept; make the asset again to go on."
        )
        if run.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message)
        else:
            instance.report_run_failed(run, message)
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    return unfinished


def _holders(instance: dg.DagsterInstance, pool: str) -> str:
    """Who holds a pool: runs, what they make, since when, in which process."""
    info = instance.event_log_storage.get_concurrency_info(pool)
    since = {(step.run_id, step.step_key): step.assigned_timestamp for step in info.pending_steps}
    locks = _folder(instance)
    told = []
    for slot in info.claimed_slots:
        begun = since.get((slot.run_id, slot.step_key))
        when = f" since {begun.astimezone():%H:%M:%S}" if begun else ""
        pid = _note(locks, slot.run_id).get("pid") if locks else None
        process = f" in process {pid}" if pid else ""
        told.append(f"run {slot.run_id[:8]}, which makes {slot.step_key}{when}{process}")
    return " and ".join(told)
