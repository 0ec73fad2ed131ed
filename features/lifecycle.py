"""Where a user stands in the life-cycle, by a rule in terms of the user's own rhythm."""

import numpy as np
from numpy.typing import NDArray

from features.behaviour import account_age_days, gap_mean_days
from features.known import Known
from features.rfm import frequency, recency_days

STAGES = ("new", "active", "at_risk", "lapsed")  # the codes 0 to 3

_NEW_DAYS = 30  # a user who joined less long ago is new
_USUAL_GAP_DAYS = 45  # taken as the gap between orders until two gaps are known
_SHORTEST_GAP_DAYS = 7  # one who orders every day is not lost after a week-end
_ACTIVE_GAPS, _AT_RISK_GAPS = 2, 4  # silent for at most so many gaps


def lifecycle_stage(known: Known) -> NDArray:
    """Code of the stage, in the order of STAGES.

    New: joined less than 30 days ago. Otherwise by the silence since the last order (since joining, where
    there is none), counted in gaps between orders: active up to 2 of them, at risk up to 4, lapsed beyond.
    """
    age, recency = account_age_days(known), recency_days(known)
    silence = np.where(np.isnan(recency), age, recency)
    own_gap = np.maximum(gap_mean_days(known), _SHORTEST_GAP_DAYS)
    gap = np.where(frequency(known) > 2, own_gap, _USUAL_GAP_DAYS)
    stage = 1 + (silence > _ACTIVE_GAPS * gap) + (silence > _AT_RISK_GAPS * gap)
    return np.where(age < _NEW_DAYS, 0, stage)
