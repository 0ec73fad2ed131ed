"""The choice load of each value tier, learned from the training rows that show lists of several."""

import numpy as np

from features.tiers import TIER_COLUMN, Tiers
from offers.choice import count_alike
from training.choice_load import ChoiceLoads, ListChoices, choice_loads
from training.dataset import Dataset
from training.uptake import UptakeModel


def tier_loads(
    train: Dataset, uptake: UptakeModel, tiers: Tiers, similarity: float, level: float
) -> ChoiceLoads | None:
    """What the logged lists say of how hard choosing is; None where they are too few or not taken of.

    Parameters
    ----------
    train : Dataset
        Lists whose propensity is logged count, each by it; the others are left out.
    uptake : UptakeModel
        Fitted on single offers, so that it has seen none of the lists.
    similarity : float
        What a repeated category adds, times the load (`settings.decision.similarity_load`).
    """
    rows = np.flatnonzero(train.is_teaching_list)
    if train.listed is None or train.listed_uptake is None or not len(rows):
        return None
    services, X = train.listed[rows].astype(np.intp), train.X[rows]
    shown, places = services >= 0, np.maximum(services, 0)
    choices = ListChoices.of(
        np.take_along_axis(uptake.predict(X), places, axis=1),
        shown,
        train.listed_uptake[rows],
        count_alike(np.where(shown, train.catalog.category[places], -1)),
        similarity,
        train.slate_propensity[rows],
    )
    tier = tiers.of(X[:, train.columns.index(TIER_COLUMN)]).tolist()
    return choice_loads(choices, tier, tiers.names, level)
