"""All commands and their options; what they do stands in the modules beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from spavl_dag.pipeline.layout import Project

app = typer.Typer(
    name="spavl",
    help="Make a safety preference dataset for vision-language models, and align a model with it.\n\n"
    "`spavl demo` makes everything; `spavl ui` shows it; `spavl status` says what is stale; "
    "`spavl trace ID` says where a row comes from. `dvc repro` and the Dagster UI run the same DAG.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
params_app = typer.Typer(help="Read and check params.yaml.", no_args_is_help=True)
app.add_typer(params_app, name="params")
experiments_app = typer.Typer(help="Experiments that are ready to be added to params.yaml.", no_args_is_help=True)
app.add_typer(experiments_app, name="experiments")

graph_app = typer.Typer(help="What depends on what, and dvc.yaml.", no_args_is_help=True)
app.add_typer(graph_app, name="graph")

judge_app = typer.Typer(help="The judges, measured against people.", no_args_is_help=True)
app.add_typer(judge_app, name="judge")

ledger_app = typer.Typer(help="The ledger of all model calls.", no_args_is_help=True)
app.add_typer(ledger_app, name="ledger")

ProjectOption = Annotated[
    Path | None,
    typer.Option("--project", "-C", help="Folder of the project; default: the one you are in.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command()
def run(
    artifact: Annotated[str, typer.Argument(help="Artifact to make, such as captions.")],
    partition: Annotated[
        str | None, typer.Option("--partition", "-p", help="Which part: a key of models: or of experiments:.")
    ] = None,
    retry: Annotated[
        Literal["failed"] | None,
        typer.Option(help="`failed` also asks again what ended in a permanent error.", show_default=False),
    ] = None,
    project: ProjectOption = None,
) -> None:
    """Make one artifact, or one part of it. This is what `dvc repro` calls for each stage.

    Only model calls that were never made before are made; the result is recorded in DVC, Dagster and MLflow.

    Examples: `spavl run captions`, `spavl run responses --partition high_cool`, `spavl run checkpoints -p dpo`,
    `spavl run responses -p high_cool --retry failed`
    """
    from spavl_dag.cli.running import run_artifact

    run_artifact(Project.find(project), artifact, partition, retry_failed=retry == "failed")


@app.command()
def demo(
    project: ProjectOption = None,
    to: Annotated[
        str | None, typer.Option(help="Stop after this artifact; default: make all.", show_default=False)
    ] = None,
) -> None:
    """Make everything that isn't up to date, in one process, and show what was made and where to look.

    With the params.yaml of the repository this needs no model hub: a tiny model is trained, plays every role, and is
    aligned by SFT, DPO, PPO and GRPO.
    """
    from spavl_dag.cli.running import run_everything

    run_everything(Project.find(project), to)


@app.command()
def plan(
    project: ProjectOption = None,
    to: Annotated[
        str | None, typer.Option(help="Only what this artifact needs; default: all.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say how many model calls are missing, and project their tokens, time and money. Loads and asks no model.

    Rates are those of the calls in the ledger; a role that was never asked has none. `runtime.budget_usd`,
    `budget_calls` and `budget_hours` of params.yaml stop a run in time.
    """
    from spavl_dag.cli.plan import print_plan

    print_plan(Project.find(project), to, as_json)


@app.command()
def ui(
    project: ProjectOption = None,
    dagster_port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow UI.")] = 5000,
) -> None:
    """Start the Dagster UI and the MLflow UI of this project, until Ctrl-C."""
    from spavl_dag.cli.servers import serve

    serve(Project.find(project), dagster_port, mlflow_port)


@app.command()
def status(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Say of every artifact whether it is made, stale or missing, and which calls failed.

    Stale means the same as in `dvc status` and in Dagster. Artifacts behind a stale one are marked "blocked": they are
    made again only if what they read changes.
    """
    from spavl_dag.cli.status import print_status

    print_status(Project.find(project), as_json)


@app.command()
def trace(
    row_id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="Id of an image, question, pair, row, benchmark item or call, or its beginning."
        ),
    ],
    project: ProjectOption = None,
    show_text: Annotated[bool, typer.Option(help="Show texts; they can be harmful.")] = False,
    uses: Annotated[
        bool, typer.Option("--uses", help="Of an image (id, sha256 or file): go on to all that was made of it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Follow a row back: preference, verdicts, labels, answers, texts, image, and the raw model calls behind them.

    With `--uses` follow an image on: its questions, answers, labels, pairs, rows by split, benchmark items, and the
    checkpoints that were trained on it. Examples: `spavl trace 3f2a`, `spavl trace --uses photo.jpg`
    """
    from spavl_dag.cli.trace import print_trace, print_uses

    if uses:
        print_uses(Project.find(project), row_id, as_json)
    else:
        print_trace(Project.find(project), row_id, show_text, as_json)


@app.command()
def sync(project: ProjectOption = None) -> None:
    """Show Dagster and MLflow what DVC made or restored (`dvc repro`, `dvc pull`, `dvc checkout`)."""
    from spavl_dag.cli.running import synchronize_tools

    synchronize_tools(Project.find(project))


@app.command()
def doctor(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Check the environment: versions, dvc, antlr, locks, ledger, MLflow, device; say how to fix what is wrong."""
    from spavl_dag.cli.doctor import print_report

    print_report(Project.find(project), as_json)


@params_app.command("check")
def params_check(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Check params.yaml: unknown keys, wrong types, missing files, impossible combinations."""
    from spavl_dag.cli.params import check_params

    check_params(Project.find(project), as_json)


@params_app.command("profile")
def params_profile(
    name: Annotated[str | None, typer.Argument(help="Profile; default: list them.", show_default=False)] = None,
    project: ProjectOption = None,
) -> None:
    """Write params of real models for one GPU of 24 or 80 GB, or eight of 80 GB; or list them.

    Roles, twelve answering models, a judge and a second one, an annotator, engines, and the paper's trainings. What
    params.yaml held before is kept as params.before-profile.yaml. Example: `spavl params profile gpu_1x80`
    """
    from spavl_dag.cli.profiles import use_profile

    use_profile(Project.find(project), name)


@experiments_app.command("list")
def experiments_list(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List the paper's experiments and its ablations, and say which of them params.yaml has."""
    from spavl_dag.cli.experiments import print_experiments

    print_experiments(Project.find(project), as_json)


@experiments_app.command("add")
def experiments_add(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names from `spavl experiments list`.")],
    project: ProjectOption = None,
) -> None:
    """Add experiments to params.yaml; its comments and everything else stay.

    Example: `spavl experiments add tiny_dpo_lora`
    """
    from spavl_dag.cli.experiments import add_experiments

    add_experiments(Project.find(project), names)


@graph_app.command("write")
def graph_write(project: ProjectOption = None) -> None:
    """Write dvc.yaml from the signatures in assets/ and the choices in params.yaml. Commit it.

    Needed after a change of an asset, or where params choose another source, role or folder; a 13th model or another
    experiment needs nothing.
    """
    from spavl_dag.cli.graph import write_graph

    write_graph(Project.find(project))


@graph_app.command("check")
def graph_check(project: ProjectOption = None) -> None:
    """Say whether dvc.yaml is what assets/ and params.yaml want; prints the difference and exits with 1 when not."""
    from spavl_dag.cli.graph import check_graph

    check_graph(Project.find(project))


@graph_app.command("show")
def graph_show(
    artifact: Annotated[
        str | None, typer.Argument(help="Artifact, such as captions; default: all.", show_default=False)
    ] = None,
    partition: Annotated[
        str | None, typer.Option("--partition", "-p", help="Which part: a key of models: or of experiments:.")
    ] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what an artifact depends on, by parameter of its function, and why it is stale, down to the params key.

    Examples: `spavl graph show captions`, `spavl graph show responses -p high_cool`
    """
    from spavl_dag.cli.graph import show_graph

    show_graph(Project.find(project), artifact, partition, as_json)


@app.command()
def export(
    folder: Annotated[
        Path | None, typer.Argument(help="Where to; default: list the formats.", show_default=False)
    ] = None,
    format_: Annotated[str, typer.Option("--format", "-f", help="Who is to read it.")] = "spa_vl",
    images: Annotated[
        Literal["judge", "original"],
        typer.Option(help="`judge`: as the models saw them, upright and 8 bit; `original`: as they came."),
    ] = "judge",
    shard_rows: Annotated[int, typer.Option(min=1, help="Rows of a Parquet file, at most.")] = 20_000,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Also put it onto the Hub.", show_default=False)
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new dataset on the Hub a private one.")] = False,
    project: ProjectOption = None,
) -> None:
    """Write the dataset in the form that another tool reads: published SPA-VL, TRL, official JSON, LLaMA-Factory.

    Names and card carry the content, so that no cache gives another build's rows. Nothing leaves this machine without
    `--push`, which reads HF_TOKEN and goes on where an interrupted push was.

    Examples: `spavl export`, `spavl export out/trl --format trl`, `spavl export out/hub --push me/my-spa-vl --private`
    """
    from spavl_dag.cli.export import export_dataset, list_formats

    if folder is None:
        list_formats()
    else:
        export_dataset(Project.find(project), folder, format_, images, shard_rows, push, private=private)


@app.command("fake-server")
def fake_server(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    script: Annotated[
        Path | None, typer.Option(help="YAML file with answers and failures.", show_default=False)
    ] = None,
    fail: Annotated[
        list[str] | None,
        typer.Option(help="`outcome=share`, such as `rate_limit=0.1`; may be given several times.", show_default=False),
    ] = None,
    latency: Annotated[float | None, typer.Option(help="Seconds until an answer.", show_default=False)] = None,
    retry_after: Annotated[float | None, typer.Option(help="Seconds a 429 asks to wait.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Other seed, other failures.", show_default=False)] = None,
) -> None:
    """Speak the OpenAI API with scripted answers and failures, to rehearse a run for free. It holds no model.

    Outcomes: `rate_limit` (429), `server_error` (500), `reset`, `slow`, `endless`, `malformed`, `truncated`, `empty`,
    `content_filter`, `bad_request`. `GET /stats` says what was served, to compare with what the run counted.

    To rehearse: an entry `engines: {rehearsal: {kind: openai, endpoint: "http://127.0.0.1:8000/v1"}}` in params.yaml,
    and `engine: rehearsal` in the entries of roles and models. A script: `answers: [{match: safe, text: unsafe}]`.

    Example: `spavl fake-server --fail rate_limit=0.1 --fail reset=0.05 --latency 0.2`
    """
    from spavl_dag.cli.fake_server import serve

    options = {"latency": latency, "retry_after": retry_after, "seed": seed}
    serve(host, port, script, fail or [], options)


@judge_app.command("check")
def judge_check(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Measure the judges on answers that people labelled, and print accuracy, precision, recall and kappa.

    The sets are named under `evaluation.judge_check` in params.yaml: a CSV of your own, XSTest's completions, or
    PyRIT's scorer sets. The report shows rates corrected for the errors found here, and with `min_kappa` a judge
    below it evaluates nothing.
    """
    from spavl_dag.cli.judge import check_judges

    check_judges(Project.find(project), as_json)


@ledger_app.command("merge")
def ledger_merge(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Ledgers of other machines or checkouts.")],
    project: ProjectOption = None,
) -> None:
    """Take over the calls of other ledgers, so that none of them is made again here.

    Of a call that several have, the first finished answer stays. Example: `spavl ledger merge /mnt/node2/ledger.db`
    """
    from spavl_dag.cli.ledger import merge_ledgers

    merge_ledgers(Project.find(project).ledger, files)
