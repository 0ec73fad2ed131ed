"""How much each learner is listened to: non-negative least squares on out-of-fold R-residuals."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from training.evidence import Evidence

_PRIOR_SD = 0.5
_FEW_SERVICES_PRIOR_SD = 0.03
FEW_SERVICES = 4
_LEAST_PAIRS = 200  # fewer say nothing of anybody in particular


def stack(evidence: Evidence, deviations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients c ≥ 0 of the learners in uplift = average + Σ c × deviation.

    Least squares of the R-loss with a normal prior on each coefficient. With many services the prior's
    mean is 0; with few, where the data can hardly tell learners apart, it is the equal weight that suits
    the learners' mean best. At last all are shrunk by 1 − 1 / z², z being how many standard errors the
    combination lies from no deviation at all (James and Stein, 1961, for one number).

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
    target = evidence.remainder * root
    design = deviations * (evidence.treatment_residual * root)[:, None]
    active = (design**2).sum(axis=0) > 0
    coefficients = np.zeros(deviations.shape[1])
    if not active.any() or len(target) < _LEAST_PAIRS:
        return coefficients
    design = design[:, active]
    few = evidence.n_services <= FEW_SERVICES
    prior = np.full(design.shape[1], _equal_weight(design, target) if few else 0.0)
    stiffness = target.std() / (_FEW_SERVICES_PRIOR_SD if few else _PRIOR_SD)
    coefficients[active], _ = nnls(
        np.vstack([design, stiffness * np.eye(len(prior))]), np.concatenate([target, stiffness * prior])
    )
    return coefficients * _shrinkage(design @ coefficients[active], target)


def _shrinkage(deviation: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """1 − 1 / z² for the slope of the target on the combined deviation; 0 where z is at most 1."""
    covered, square = float(deviation @ target), float(deviation @ deviation)
    if covered <= 0:
        return 0.0
    return max(0.0, 1 - square * float(target.var()) / covered**2)


def _equal_weight(design: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """The one non-negative coefficient that all learners share when only their mean is fitted."""
    total = design.sum(axis=1)
    return max(0.0, float(total @ target) / float(total @ total))
