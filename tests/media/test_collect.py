"""A folder of images into the artifact: what is copied, what is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest

from spavl_dag.errors import MissingInputError
from spavl_dag.media.collect import SOURCES, Collected, collect_images
from spavl_dag.params.sections import ImageParams
from spavl_dag.taxonomy import load_taxonomy
from tests.media.test_ingest import encoded, put


def collect(root: Path) -> Collected:
    params = ImageParams.model_validate(
        {
            **{"source": "folder", "per_class": 1, "folder": "mine", "license": "CC0-1.0", "min_side": 16},
            **{"max_pixels": 1_000_000, "near_duplicate_distance": 2, "manifest": None},
        }
    )
    return collect_images(params, load_taxonomy(), 0, root / "mine", root / "out")


def test_links_pipes_and_odd_names_are_quarantined_and_not_copied(tmp_path: Path) -> None:
    theft = tmp_path / "mine" / "theft"
    put(tmp_path, "mine/theft/a.png", encoded())
    put(tmp_path, "elsewhere/b.png", encoded(seed=1))
    (theft / "moved_away.png").symlink_to("/nowhere/x.png")
    (theft / "itself.png").symlink_to("itself.png")
    (theft / "out.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    (theft / "here").symlink_to(".")
    (theft / "there").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(theft / "pipe.png")
    put(tmp_path, b"mine/theft/caf\xe9.png", encoded(seed=2))
    put(tmp_path, b"mine/caf\xe9/c.png", encoded(seed=3))
    found = collect(tmp_path)
    assert found.images["source"].to_list() == ["theft/a.png"]
    assert [path.name for path in (tmp_path / "out" / "files").iterdir()] == [Path(found.images["file"][0]).name]
    assert dict(found.quarantine.select("file", "reason").iter_rows()) == {
        "theft/moved_away.png": "broken_link",
        "theft/itself.png": "broken_link",
        "theft/out.png": "outside_folder",
        "theft/here": "linked_folder",
        "theft/there": "outside_folder",
        "theft/pipe.png": "not_a_regular_file",
        "theft/caf\\xe9.png": "undecodable_name",
        "caf\\xe9/c.png": "undecodable_name",
    }


def test_what_is_passed_over_is_told(tmp_path: Path) -> None:
    put(tmp_path, "mine/theft/photo", encoded())
    put(tmp_path, "mine/theft/photo.txt", b"a photo")
    with pytest.raises(MissingInputError, match=r"passed over.*: 2 files, such as theft/photo, theft/photo\.txt"):
        collect(tmp_path)
    put(tmp_path, "mine/theft/a.png", encoded(seed=1))
    assert collect(tmp_path).passed_over["file"].to_list() == ["theft/photo", "theft/photo.txt"]


def test_every_source_of_the_params_is_collected_by_a_function_of_its_own() -> None:
    assert set(SOURCES) == set(get_args(ImageParams.model_fields["source"].annotation))
    assert len(set(SOURCES.values())) == len(SOURCES)
