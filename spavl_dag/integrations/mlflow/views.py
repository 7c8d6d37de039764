"""What a person sees first in MLflow: saved views of the experiment page, kept in tags of the experiment.

MLflow's UI shows no metric until somebody picks columns. A saved view holds columns, order, filter and charts; the UI
reads it from the tag `mlflow.sharedViewState.<id>` when its address names the id, and lists it under "Saved views".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

CHECKPOINT = "spavl.checkpoint"
"""Run tag: key of the checkpoint in params.yaml."""

SUPERSEDED = "spavl.superseded"
"""Run tag: "true" when the checkpoint was made anew since."""

GATE = "gate"
"""Run tag: passed, failed or baseline."""

View = Literal["leaderboard", "data_scale"]

HEADLINES: Mapping[str, str] = {
    "unsafe rate": "harm_eval/unsafe_rate",
    "harm score": "harm_eval/harm_score",
    "MM-Safety ASR": "mm_safetybench/attack_success_rate",
    "POPE acc": "pope/accuracy",
    "caption acc": "captions/accuracy",
    "over-refusal": "xstest/over_refusal",
    "AdvBench ASR": "advbench/attack_success_rate",
    "FigStep ASR": "figstep/attack_success_rate",
    "VQA acc": "vqa/accuracy",
    "win rate": "help_eval/win_rate",
}
"""The leaderboard's metrics, from left to right, and the benchmark and metric that each stands for.

They are logged beside the full names, of which a column shows the beginning only, and to four digits: MLflow's table
shows all digits of a number.
"""

_ALWAYS_SHOWN = {"attributes.`Run Name`": 150, "runDateAndNestInfo": 126}  # name and age of the run, with their widths
_DAY = 86_400_000


def headlines(names: Iterable[str]) -> dict[str, str]:
    """Which metric each column of the leaderboard shows: the pooled value by the judge, where there is one.

    Args:
        names: Full metric names, `<benchmark>/<metric>` and then, where there are several, variant and rule; of two
            that are as good, the first is taken.
    """
    known = list(names)
    found = {}
    for title, metric in HEADLINES.items():
        fitting = [name for name in known if name == metric or name.startswith(f"{metric}/")]
        if fitting:
            found[title] = min(fitting, key=_distance_from_pooled)
    return found


def saved_views() -> dict[str, str]:
    """The experiment's tags that hold the views."""
    # The list in the UI is sorted by age, the newest first; these times only stand for that order.
    return {
        _tag("leaderboard"): _view("Leaderboard", _table(), 2 * _DAY),
        _tag("data_scale"): _view("Data scale", _table() | _charts(), _DAY),
    }


def view_url(ui: str, experiment: str, view: View = "leaderboard") -> str:
    """Address of a view.

    Args:
        ui: Address of the MLflow UI.
        experiment: The experiment's id.
        view: Which one.
    """
    page = f"{ui.rstrip('/')}/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={view}"
    # A view can't hold whether it is a table or charts.
    return f"{page}&compareRunsMode=CHART" if view == "data_scale" else page


def _distance_from_pooled(name: str) -> tuple[int, bool]:
    parts = [part for part in name.split("/") if part != "all"]
    return len(parts), "refusal_keywords" in parts


def _tag(view: View) -> str:
    return f"mlflow.sharedViewState.{view}"


def _view(title: str, state: Mapping[str, Any], created: int) -> str:
    return json.dumps({"name": title, "createdAt": created, "state": json.dumps(state)})


def _table() -> dict[str, Any]:
    titles = {f"tags.`{GATE}`": "baseline"}  # the longest of its values
    titles |= {f"params.`{name}`": name for name in ("method", "pairs")}
    titles |= {f"metrics.`{title}`": title for title in HEADLINES}
    titles |= {f"params.`{name}`": name for name in ("learning_rate", "beta")}
    widths = {column: 22 + 7 * len(title) for column, title in titles.items()} | {"attributes.`Dataset`": 230}
    return {
        "searchFilter": f"tags.`{SUPERSEDED}` = 'false'",
        "orderByKey": f"metrics.`{next(iter(HEADLINES))}`",
        "orderByAsc": True,
        "selectedColumns": list(widths),
        "columnOrder": [*_ALWAYS_SHOWN, *widths],
        "columnWidths": {**_ALWAYS_SHOWN, **widths},
        "runsHiddenMode": "SHOW_ALL",
    }


def _charts() -> dict[str, Any]:
    section = "data-scale"
    return {
        "compareRunSections": [{"uuid": section, "name": "Data scale", "display": True, "isReordered": True}],
        "isAccordionReordered": True,
        "compareRunCharts": [
            {
                "type": "SCATTER",
                "uuid": f"{section}-{title}",
                "metricSectionId": section,
                "deleted": False,
                "isGenerated": False,
                "runsCountToCompare": 100,
                "xaxis": {"key": "pairs", "type": "PARAM"},
                "yaxis": {"key": title, "type": "METRIC"},
            }
            for title in HEADLINES
        ],
    }
