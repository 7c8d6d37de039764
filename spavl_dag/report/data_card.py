"""The data card: what the dataset is, how it was made and what its numbers are, for people.

Belongs here: what the template is given. The front matter that programs read stands in
`integrations.huggingface.front_matter`. Texts of models don't appear in the card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from spavl_dag.report.render import render
from spavl_dag.report.statistics import SHARES
from spavl_dag.taxonomy import Taxonomy

PUBLISHED = {"chosen_unsafe": 0.117, "rejected_unsafe": 0.4223}
"""Judge statistics of the published data (paper.md, 'Judge statistics of the published data')."""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the card says besides numbers.

    Attributes:
        image_source: `images.source`.
        models: Label of each answering model by its key.
        simulated: Keys of those that are simulated respondents.
        judge: Model of the judge.
        judge_sees_image: Whether it sees the image.
        criteria: Criteria by which the annotators were asked (`preferences.asked`).
        scripted: Key paths of params whose answers no model wrote; with any, the dataset is a rehearsal.
        near_duplicate_distance: Bits of 64 in which the perceptual hashes of near duplicates may differ.
    """

    image_source: str
    models: Mapping[str, str]
    simulated: Set[str]
    judge: str
    judge_sees_image: bool
    criteria: Sequence[str]
    near_duplicate_distance: int
    scripted: Sequence[str] = ()


def data_card(statistics: Mapping[str, Any], taxonomy: Taxonomy, facts: CardFacts) -> str:
    """The data card's text, without front matter.

    Args:
        statistics: What `statistics.dataset_statistics` counted.
        taxonomy: For the names of the classes.
        facts: What else the card says.
    """
    counted = statistics["classes"]
    return render(
        "data_card.md.j2",
        "markdown",
        statistics=statistics,
        facts=facts,
        shares=SHARES,
        published=PUBLISHED,
        classes=[(harm.name, counted[harm.slug]) for harm in taxonomy.classes if harm.slug in counted],
    )
