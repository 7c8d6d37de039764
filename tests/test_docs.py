"""The docs: links lead somewhere, commands exist, examples are valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from spavl_dag.params.models import ModelEntry
from spavl_dag.params.sections import Params
from spavl_dag.taxonomy import load_taxonomy

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

# Every command a page shows, and where it is run.
RUN_BY = {
    "make demo": ".ci/run",
    "make test": ".ci/run",
    "make setup": "make test",
    "make setup TORCH=auto": "needs a GPU; that the switch arrives is tested in tests/test_setup.py",
    "spavl ui": "tests/integrations/test_ui.py",
    "spavl status": "tests/integrations/test_agreement.py",
    "spavl sync": "tests/integrations/test_agreement.py",
    "spavl demo": "tests/conftest.py",
    "spavl run": "tests/integrations/test_agreement.py",
    "spavl trace": "tests/integrations/test_agreement.py",
    "spavl params profile": "tests/test_profiles.py",
    "spavl params check": "tests/test_cli.py",
    "spavl doctor": "tests/test_cli.py",
    "spavl experiments list": "tests/test_cli_experiments.py",
    "spavl experiments add": "tests/test_cli_experiments.py",
    "spavl graph": "tests/test_cli.py",
    "spavl export": "tests/integrations/test_made_commands.py",
    "spavl fake-server": "tests/inference/engines/test_hosted.py",
    "spavl judge check": "tests/integrations/test_made_commands.py",
    "spavl plan": "tests/integrations/test_plan.py",
    "spavl ledger merge": "tests/test_cli.py",
    "dvc metrics show": "tests/integrations/test_alignment.py",
    "dvc metrics diff": "tests/integrations/test_alignment.py",
    "dvc plots show": "tests/integrations/test_alignment.py",
    "dvc status": "tests/integrations/test_agreement.py",
    "dvc repro": "tests/integrations/test_agreement.py",
    "dvc exp run": "tests/params/test_overrides.py",
    "dvc commit": "tests/integrations/test_agreement.py",
    "dvc push": "DVC's own",
    "dvc pull": "DVC's own; `dvc checkout` in tests/integrations/test_agreement.py",
    "dagster dev": "tests/integrations/test_dagster_runs.py",
    "dagster instance concurrency set models 2": "tests/test_cli.py",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_are_run_somewhere(page: Path):
    shown = re.findall(r"`([^`\n]+)`", page.read_text())
    shown += [line for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S) for line in block.splitlines()]
    for text in shown:
        command = re.sub(r"\s*#.*", "", text).strip().removeprefix(".venv/bin/")
        if command.split(" ")[0] in ("make", "spavl", "dvc", "dagster") and " " in command:
            assert any(command == known or command.startswith(f"{known} ") for known in RUN_BY), command


def test_the_taxonomy_example_loads(tmp_path: Path):
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/how-to/own-taxonomy.md").read_text(), re.S)
    (tmp_path / "mine.yaml").write_text(example)
    assert [harm.slug for harm in load_taxonomy(tmp_path / "mine.yaml").classes] == ["weapon"]


def test_the_model_example_is_valid():
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/how-to/other-models.md").read_text(), re.S)
    entry = ModelEntry.model_validate(yaml.safe_load(example)["models"]["llava_7b"])
    assert (ROOT / entry.prompt).is_file()


def test_the_image_example_names_real_keys():
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/how-to/own-images.md").read_text(), re.S)
    fields = Params.model_fields["images"].annotation.model_fields
    assert set(yaml.safe_load(example)["images"]) <= set(fields)
