"""Dagster's pages in a real browser: work is started by what a user clicks, and shown as done."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.conftest import MODELS, Project
from tests.integrations.chromium import CHROMIUM, Page, browser
from tests.integrations.test_front_ends import calls, servers
from tests.integrations.test_ui import ask

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


NEWEST = """{ runsOrError(limit: 1) { ... on Runs { results { runId } } }
  partitionBackfillsOrError(limit: 1) { ... on PartitionBackfills { results { id } } } }"""


def click_and_launch(page: Page, url: str, button: str) -> None:
    """Click what launches something, and wait until it is: a page that is left before that launches nothing."""
    before = ask(url, NEWEST)
    page.click(button)
    end = time.monotonic() + 60
    while ask(url, NEWEST) == before:
        assert time.monotonic() < end, f"'{button}' launched nothing:\n{page.text()}"
        time.sleep(0.2)


def wait_for_success(page: Page, address: str, target: str, seconds: float = 300) -> None:
    """Wait until the newest entry of the page of runs is a success."""
    page.open(address)
    page.wait_for(target)
    end = time.monotonic() + seconds
    while True:
        newest = page.text().partition("Duration\n")[2].partition("\nView\n")[0].splitlines()
        if "Success" in newest:
            assert target in newest
            return
        assert not {"Failure", "Failed", "Canceled"} & set(newest), newest
        assert time.monotonic() < end, newest
        time.sleep(0.5)


@pytest.mark.timeout(600)
def test_a_job_and_an_asset_are_made_by_clicks(made_project: Project, tmp_path: Path):
    before = calls(made_project)
    made_project.change_params(lambda p: p["roles"]["captioner"]["decoding"].update(max_new_tokens=23))
    with servers(made_project) as (_, url), browser(tmp_path / "profile") as page:
        dagster = url.removesuffix("/graphql")
        try:
            page.open(f"{dagster}/jobs")
            page.click("build_dataset")
            page.click("Materialize all…")
            page.click("All")  # partitions
            click_and_launch(page, url, "Launch backfill")
            wait_for_success(page, f"{dagster}/runs?tab=backfills", f"{len(MODELS)} partitions")
            made = calls(made_project)
            assert len(made) > len(before), "the captions were asked for anew"

            page.open(f"{dagster}/assets/keywords")
            click_and_launch(page, url, "Materialize")
            wait_for_success(page, f"{dagster}/runs", "keywords")
            page.open(f"{dagster}/assets/keywords")
            page.wait_for("nothing: it was up to date")
        except BaseException:
            page.screenshot(tmp_path / "page.png")
            raise
    assert calls(made_project) == made, "what was up to date cost nothing"
    assert "up to date" in made_project.dvc("status", "keywords", "captions", "dataset").stdout
