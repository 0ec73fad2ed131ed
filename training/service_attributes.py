"""What the catalogue tells of services that a hardly shown one may lean on: category, scenario, cost."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog

_MOST_DEVIATIONS = 2.0  # of a cost from the mean, so that one very dear service counts as dear


def service_attributes(catalog: Catalog) -> NDArray[np.float64]:
    """Category and scenario as 0 and 1, and the standardised logarithm of 1 + unit_cost.

    Two services of one category, or of one scenario, are as alike in it as two whose costs lie one standard
    deviation from the mean on the same side, so that none of the three drowns the others. A category of a
    single service is left out, as it says nothing of any other; so is a cost that all share.

    Returns
    -------
    ndarray of shape (n_services, k)
        k is 0 where the catalogue tells nothing.

    Examples
    --------
    >>> from offers.types import Service
    >>> catalog = Catalog.of([
    ...     Service("a", "Wash", category="car", unit_cost=4.0),
    ...     Service("b", "Tyres", category="car", unit_cost=4.0),
    ...     Service("c", "Lounge", category="travel", unit_cost=1.0),
    ... ])
    >>> service_attributes(catalog).round(2).tolist()
    [[1.0, 0.71], [1.0, 0.71], [0.0, -1.41]]
    """
    services = catalog.services
    return np.column_stack(
        [
            _levels([service.category for service in services]),
            _levels([service.scenario for service in services]),
            _standardised(np.log1p(catalog.unit_cost)),
        ]
    )


def _levels(names: Sequence[str]) -> NDArray[np.float64]:
    """(n, n_levels) 1 where a service is of the level; of those that at least two services share."""
    counts = Counter(name for name in names if name)
    shared = sorted(name for name, n in counts.items() if n > 1)
    return np.array([[name == level for level in shared] for name in names], dtype=np.float64).reshape(
        len(names), len(shared)
    )


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 1), or (n, 0) where all are one value."""
    spread = values.std() if len(values) else 0.0
    if spread == 0:
        return np.zeros((len(values), 0))
    scores = (values - values.mean()) / spread
    return np.clip(scores, -_MOST_DEVIATIONS, _MOST_DEVIATIONS)[:, None]
