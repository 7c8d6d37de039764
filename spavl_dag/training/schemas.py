"""What the rows of a training's tables must be; the registry of all tables is `assets/`."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from spavl_dag.schemas import HARMLESS, Table


class Curve(Table):
    """What was measured during a training, a row per step and metric."""

    step: pl.Int64 = pa.Field(ge=0)
    metric: str = pa.Field(str_matches=r"^[\w/.-]+$")
    value: float = pa.Field(nullable=True)

    class Config(Table.Config):
        """Pandera's settings."""

        name = "curve"
        unique = ["step", "metric"]  # noqa: RUF012


class RejectedRows(Table):
    """Rows that could not be trained on, each with its reason; nothing is truncated."""

    class Config(Table.Config):
        """Pandera's settings."""

        name = "rejected"

    row_id: str = pa.Field(metadata=HARMLESS)
    reason: str = pa.Field(metadata=HARMLESS)
    tokens: pl.Int64 = pa.Field(nullable=True, ge=0)


class RewardPairs(Table):
    """What the reward model gives held-out pairs."""

    row_id: str = pa.Field(unique=True, metadata=HARMLESS)
    reward_chosen: float
    reward_rejected: float
    margin: float


class Calibration(Table):
    """How often the reward model is right, by how sure it is."""

    class Config(Table.Config):
        """Pandera's settings."""

        name = "calibration"

    low: float = pa.Field(in_range={"min_value": 0, "max_value": 1})
    high: float = pa.Field(in_range={"min_value": 0, "max_value": 1})
    n: pl.Int64 = pa.Field(ge=0)
    confidence: float = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})
    accuracy: float = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})


class RewardModelCurve(Curve):
    """The curve of the reward model's training."""

    class Config(Curve.Config):
        """Pandera's settings."""

        name = "curve"


class RewardModelRejectedRows(RejectedRows):
    """Rows that the reward model could not be trained on."""

    class Config(RejectedRows.Config):
        """Pandera's settings."""

        name = "rejected"
