"""Artifacts on disk: damaged ones are named, and a place on another disk is refused before the work."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest

from spavl_dag.errors import MissingInputError, from_system
from spavl_dag.pipeline.declaration import Asset
from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.load import load_graph
from spavl_dag.pipeline.store import Store
from tests.conftest import CHECKOUT

OTHER_DISK = Path("/dev/shm")


@pytest.fixture
def captions() -> Asset:
    return load_graph(Project(CHECKOUT)).asset("captions")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Project(tmp_path))


def damages(whole: bytes) -> Iterator[bytes]:
    """The file cut, and with one byte after the other changed."""
    yield from (whole[:length] for length in (0, 4, len(whole) // 2, len(whole) - 1))
    for place in range(0, len(whole), 3):
        yield whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]


def test_a_damaged_table_is_named_whatever_is_wrong_with_it(store: Store, captions: Asset):
    file = store.project.root / captions.out() / "captions.parquet"
    file.parent.mkdir(parents=True)
    pl.DataFrame({"image_id": ["a", "b"], "caption": ["x" * 40, None]}).write_parquet(file)
    read = 0
    contents = list(damages(file.read_bytes()))
    for content in contents:
        file.write_bytes(content)
        with suppress(MissingInputError):
            store.read(captions, "captions")
            read += 1  # a changed letter of a text is no damage to the file
    assert read < len(contents)
    file.write_bytes(contents[2])
    with pytest.raises(MissingInputError, match=r"data/captions/captions\.parquet is damaged"):
        store.read(captions, "captions")


@pytest.mark.skipif(not OTHER_DISK.is_dir(), reason="no second file system")
def test_a_place_on_another_disk_is_refused_before_the_work(store: Store):
    checkpoints = load_graph(Project(CHECKOUT)).asset("checkpoints")
    place = store.project.root / checkpoints.out()
    place.parent.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=OTHER_DISK) as elsewhere:
        if os.stat(elsewhere).st_dev == os.stat(place.parent).st_dev:
            pytest.skip("no second file system")
        place.symlink_to(elsewhere)
        with pytest.raises(OSError, match=re.escape(str(place))) as told:
            store.staging(checkpoints, "dpo")
    assert told.value.errno == errno.EXDEV
    assert "same disk" in str(from_system(told.value).hint)


def test_a_link_to_a_folder_of_the_same_disk_will_do(store: Store, captions: Asset, tmp_path: Path):
    (tmp_path / "large").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "large")
    staging = store.staging(captions, None)
    (staging / "captions.parquet").write_bytes(b"new")
    store.replace(staging, captions, None)
    assert (tmp_path / "large" / "captions" / "captions.parquet").read_bytes() == b"new"
