"""`spavl params profile`: params of real models for a machine."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from spavl_dag.errors import ParamsError
from spavl_dag.params.load import load_params
from spavl_dag.pipeline.layout import Project
from spavl_dag.profiles import list_profiles, with_profile
from spavl_dag.yamls import dump_yaml, load_yaml

_KEPT = "params.before-profile.yaml"


def use_profile(project: Project, name: str | None) -> None:
    """List the profiles, or write one to params.yaml; what was there before is kept beside it.

    Args:
        project: The project.
        name: Of the profile; None lists them.

    Raises:
        ParamsError: There is no such profile, or what was kept from another time is still there.
    """
    console = Console()
    if name is None:
        table = Table(title="Params of real models")
        table.add_column("profile", no_wrap=True)
        table.add_column("for", overflow="fold")
        for profile, about in list_profiles().items():
            table.add_row(profile, about)
        console.print(table)
        console.print("write one with `spavl params profile NAME`", highlight=False)
        return
    file = project.params_file
    kept = file.with_name(_KEPT)
    if kept.exists():
        raise ParamsError(f"{kept.name} is there already", "Move it away: it holds your params from before.")
    load_params(file)  # what is wrong with it is said before anything is written
    text = file.read_text(encoding="utf-8")
    made = dump_yaml(with_profile(load_yaml(text), name))
    kept.write_text(text, encoding="utf-8")
    head = f"# Profile {name} of `spavl params profile`; the params before it are in {kept.name}.\n"
    new = file.with_name(f"{file.name}.new")
    new.write_text(head + made, encoding="utf-8")
    new.replace(file)
    told = "put your images into inputs/images, then `spavl graph write`, `spavl params check` and `spavl plan`"
    console.print(f"{file.name} is profile {name}, and {kept.name} what it was; {told}", highlight=False)
