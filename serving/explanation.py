"""Why a service has its value for a user: what each feature adds, compared with a typical user."""

from collections.abc import Sequence
from dataclasses import dataclass
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray

from offers.ranking import terms_of
from offers.settings import DecisionSettings
from training.bundle import Bundle

_N_REASONS = 3


@dataclass(frozen=True)
class Reason:
    """One feature, its value in the profile, and the money by which it moves the service's value."""

    feature: str
    value: float  # NaN: unknown
    effect: float  # currency units


def explain(
    bundle: Bundle, decision: DecisionSettings, profile: NDArray[np.float32], services: Sequence[int]
) -> dict[int, tuple[Reason, ...]]:
    """The features that move the value of each service most, strongest first, by catalogue position.

    The effect of a feature is what the value alone would lose if this feature, and no other, were that of
    the typical user: the median of the profiles that the bundle keeps. Effects of features that act
    together do not add up to the value. A feature without an effect is left out.
    """
    typical = typical_profile(bundle)
    differs = np.flatnonzero(~_equal(profile, typical))
    changed = np.repeat(profile[None], len(differs) + 1, axis=0)
    changed[np.arange(len(differs)), differs] = typical[differs]  # the last row stays as it is
    value = terms_of(bundle.estimates(changed), bundle.catalog, decision.money_price).value
    effects = value[-1] - value[:-1]
    return {
        position: tuple(
            Reason(bundle.layout.columns[column], float(profile[column]), float(effect))
            for column, effect in _strongest(differs, effects[:, position])
        )
        for position in services
    }


def typical_profile(bundle: Bundle) -> NDArray[np.float32]:
    """Each column's median over the bundle's own profiles; NaN where it is unknown of all of them."""
    profiles = np.array(bundle.manifest["golden"]["profiles"], dtype=np.float32)
    with catch_warnings():
        simplefilter("ignore", RuntimeWarning)  # of a column without any value, which stays NaN
        return np.nanmedian(profiles, axis=0)


def _strongest(columns: NDArray[np.intp], effects: NDArray[np.float64]) -> list[tuple[int, float]]:
    order = np.argsort(-np.abs(effects), kind="stable")[:_N_REASONS]
    return [(int(columns[place]), float(effects[place])) for place in order if effects[place]]


def _equal(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.bool_]:
    return (left == right) | (np.isnan(left) & np.isnan(right))
