"""Logged propensities that do not fit what was shown, by less than would be refused."""

from collections.abc import Iterator

import numpy as np

from training.dataset import NOTHING, Dataset
from training.evaluation.policy_value import effective_sample_size
from training.suspicions.suspicion import Suspicion

_LEAST_USERS = 30
_RATIO = 1.2
_STANDARD_ERRORS = 5
_CONSTANT = 1e-9
_SUM_TOLERANCE = 0.05


def propensity_level(rows: Dataset) -> Iterator[Suspicion]:
    """Each action's 1 / propensity sums to the rows on which it was possible: of nothing, to all of them."""
    for action in np.unique(rows.service):
        of_action = rows.service == action
        weight = 1 / rows.slate_propensity[of_action]
        n_users = len(np.unique(rows.user[of_action]))
        if n_users < _LEAST_USERS:
            continue
        ratio = float(weight.sum()) / len(rows)
        error = 1 / np.sqrt(min(n_users, effective_sample_size(weight)))
        off = max(float(np.log(_RATIO)), _STANDARD_ERRORS * error)
        if np.log(ratio) > off or (action == NOTHING and np.log(ratio) < -off):
            name = "nothing" if action == NOTHING else f"service {rows.catalog.ids[action]}"
            found = (
                f"by them it was shown in about {of_action.sum() / ratio:,.0f} of {len(rows):,} rows, "
                f"found {of_action.sum():,}"
            )
            yield Suspicion("propensity_level", name, found)


def propensity_sum(rows: Dataset) -> Iterator[Suspicion]:
    """The sum over nothing and the services, where each was logged with one probability throughout."""
    by_action = [rows.slate_propensity[rows.service == a] for a in range(NOTHING, len(rows.catalog))]
    logged = [p for p in by_action if len(p)]
    if len(logged) < 2 or any(np.ptp(p) > _CONSTANT for p in logged):
        return
    total = float(sum(p[0] for p in logged))
    slack = _SUM_TOLERANCE + _STANDARD_ERRORS / np.sqrt(len(rows)) * (total < 1 - _SUM_TOLERANCE)
    if total > 1 + _SUM_TOLERANCE or (len(logged) == len(by_action) and total < 1 - slack):
        found = f"the probabilities of {len(logged)} choices sum to {total:.3g}"
        yield Suspicion("propensity_sum", "exposures.propensity", found)
