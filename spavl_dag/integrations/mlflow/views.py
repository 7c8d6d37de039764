"""What a person sees first in MLflow: saved views of the experiment page, kept in tags of the experiment.

MLflow's UI shows no metric until somebody picks columns. A saved view holds columns, order, filter and charts; the UI
reads it from the tag `mlflow.sharedViewState.<id>` when its address names the id, and lists it under "Saved views".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from spavl_dag.evaluation.headlines import HEADLINES, UNSAFE

STATE = "spavl.state"
"""Run tag: current, superseded or removed."""

GATE = "gate"
"""Run tag: what the gate says of the checkpoint."""

View = Literal["leaderboard", "data_scale"]

COLUMNS = tuple(headline.label for headline in HEADLINES)
"""The leaderboard's metrics, from left to right.

They are logged beside the full names, of which a column shows the beginning only, and to four digits: MLflow's table
shows all digits of a number.
"""

_ALWAYS_SHOWN = {"attributes.`Run Name`": 150, "runDateAndNestInfo": 126}  # name and age of the run, with their widths
_DAY = 86_400_000


def saved_views() -> dict[str, str]:
    """The experiment's tags that hold the views."""
    # The list in the UI is sorted by age, the newest first; these times only stand for that order.
    return {
        _tag("leaderboard"): _view("Leaderboard", _table(), 2 * _DAY),
        _tag("data_scale"): _view("Data scale", _table() | _charts(), _DAY),
    }


def view_url(ui: str, experiment: str, view: View | None = "leaderboard") -> str:
    """Address of a view.

    Args:
        ui: Address of the MLflow UI; "" inside of it.
        experiment: The experiment's id.
        view: Which one; None for the runs as they come.
    """
    address = ui.rstrip("/") + "/" if ui else ""
    page = f"{address}#/experiments/{experiment}/runs?workflowType=machine_learning"
    page += f"&viewStateShareKey={view}" if view else ""
    # A view can't hold whether it is a table or charts.
    return f"{page}&compareRunsMode=CHART" if view == "data_scale" else page


def _tag(view: View) -> str:
    return f"mlflow.sharedViewState.{view}"


def _view(title: str, state: Mapping[str, Any], created: int) -> str:
    return json.dumps({"name": title, "createdAt": created, "state": json.dumps(state)})


def _table() -> dict[str, Any]:
    titles = {f"tags.`{GATE}`": "incomplete"}  # the longest of its values
    titles |= {f"params.`{name}`": name for name in ("method", "pairs")}
    titles |= {f"metrics.`{title}`": title for title in COLUMNS}
    titles |= {f"params.`{name}`": name for name in ("learning_rate", "beta")}
    widths = {column: 22 + 7 * len(title) for column, title in titles.items()} | {"attributes.`Dataset`": 230}
    return {
        "searchFilter": f"tags.`{STATE}` = 'current'",
        "orderByKey": f"metrics.`{UNSAFE.label}`",
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
            for title in COLUMNS
        ],
    }
