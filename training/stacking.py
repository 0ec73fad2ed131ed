"""How much each learner is listened to: non-negative least squares on out-of-fold deviations."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from training.evidence import Evidence
from training.shrinkage import slope_and_z, trust

_PRIOR_SD = 0.5
_FEW_SERVICES_PRIOR_SD = 0.03
_LEAST_PAIRS = 200  # fewer say nothing of anybody in particular


def stack(evidence: Evidence, deviations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients c ≥ 0 of the learners in uplift = average + Σ c × deviation.

    Least squares of the evidence's equations with a normal prior on each coefficient. With many services
    the prior's mean is 0; with few, where the data can hardly tell learners apart, it is the equal weight
    that suits the learners' mean best. At last all are shrunk by `trust(z)`, z being how many standard
    errors the combination lies from no deviation at all: the best service for everybody is left only where
    the evidence carries it.

    Parameters
    ----------
    evidence : Evidence
        m pairs.
    deviations : ndarray of shape (m, n_learners)
        Each learner's out-of-fold uplift less the service's average.

    Returns
    -------
    ndarray of shape (n_learners,)
        0 for a learner that adds nothing.

    References
    ----------
    Nie and Wager (2021), Quasi-oracle estimation of heterogeneous treatment effects, section 4 (R-stacking).
    """
    root = np.sqrt(evidence.weight)
    target = evidence.target * root
    design = deviations * (evidence.multiplier * root)[:, None]
    active = (design**2).sum(axis=0) > 0
    coefficients = np.zeros(deviations.shape[1])
    if not active.any() or len(target) < _LEAST_PAIRS:
        return coefficients
    design = design[:, active]
    prior = np.full(design.shape[1], _equal_weight(design, target) if evidence.is_few else 0.0)
    stiffness = target.std() / (_FEW_SERVICES_PRIOR_SD if evidence.is_few else _PRIOR_SD)
    coefficients[active], _ = nnls(
        np.vstack([design, stiffness * np.eye(len(prior))]), np.concatenate([target, stiffness * prior])
    )
    combined = design @ coefficients[active]
    slope, z = slope_and_z(combined, target)
    return coefficients * slope * trust(z)


def _equal_weight(design: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """The one non-negative coefficient that all learners share when only their mean is fitted."""
    total = design.sum(axis=1)
    return max(0.0, float(total @ target) / float(total @ total))
