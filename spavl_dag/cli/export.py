"""`spavl export`: the made dataset in the form that another tool reads."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from spavl_dag.cli.progress import ProgressReporter
from spavl_dag.errors import ParamsError
from spavl_dag.inference.request import ImageRef
from spavl_dag.integrations.huggingface.exporting import push_export, without_front_matter, write_export
from spavl_dag.integrations.huggingface.formats import FORMATS, Export
from spavl_dag.integrations.huggingface.formats.base import ImageUse
from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.load import load_graph
from spavl_dag.pipeline.store import Store
from spavl_dag.schemas import DatasetRows, Images


def list_formats() -> None:
    """Print the formats and who reads them."""
    table = Table(title="Forms of the dataset")
    table.add_column("format", no_wrap=True)
    table.add_column("read by", overflow="fold")
    for form in FORMATS.values():
        table.add_row(form.name, form.about)
    Console().print(table)


def export_dataset(
    project: Project, folder: Path, format_: str, images: ImageUse, shard_rows: int, push: str | None, *, private: bool
) -> None:
    """Write the dataset, as it was made last, into a folder, and push it where that is asked for.

    Raises:
        SpavlError: There is no dataset, no such format, or the folder holds something else.
    """
    if format_ not in FORMATS:
        raise ParamsError(f"there is no format '{format_}'", f"There are {', '.join(FORMATS)}.")
    graph = load_graph(project)
    store = Store(project)
    dataset, owner = graph.owner(DatasetRows)[0], graph.owner(Images)[0]
    rows, table = store.read(dataset, "dataset"), store.read(owner, "images")
    refs = {
        image_id: ImageRef.of_file(project.root / owner.out() / file, sha256)
        for image_id, file, sha256 in table.select("image_id", "file", "sha256").iter_rows()
    }
    used = table.filter(pl.col("image_id").is_in(rows["image_id"].unique().implode()))
    card = without_front_matter((project.root / dataset.out() / "README.md").read_text(encoding="utf-8"))
    with ProgressReporter() as progress:
        made = Export(rows, refs, images, shard_rows, progress)
        count = write_export(FORMATS[format_], made, folder, card, used["license"].drop_nulls().unique().to_list())
    console = Console()
    told = f"{rows.height:,} rows as {format_} in {count:,} files: {folder} (content {made.content})"
    console.print(told, highlight=False, soft_wrap=True)
    if push is not None:
        console.print(f"pushed: {push_export(folder, push, private=private)}", highlight=False, soft_wrap=True)
