"""Why a service has its value for a user: what each feature adds, and that it adds up."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.bundle import Bundle

_N_REASONS = 3


@dataclass(frozen=True)
class Reason:
    """One feature, its value in the profile, and the money that it adds to the service's value."""

    feature: str
    value: float  # NaN: unknown
    effect: float  # currency units


@dataclass(frozen=True)
class Explanation:
    """A service's value taken apart: base + effects of the reasons + rest; currency units."""

    base: float  # the value for a typical user
    reasons: tuple[Reason, ...]  # the features that add or take most, strongest first
    rest: float  # what all other features add together


def explain(
    bundle: Bundle, money_price: float, profile: NDArray[np.float32], services: Sequence[int]
) -> dict[int, Explanation]:
    """The value of each of these services, offered alone, taken apart; by catalogue position.

    The models' own parts are added up: TreeSHAP of their trees, the terms of their linear parts, less what
    the service is expected to cost. A feature without an effect is no reason.
    """
    parts = bundle.explain_value(profile[None], services, money_price)
    columns = bundle.layout.columns
    return {
        position: _explanation(float(base), effects, profile, columns)
        for position, base, effects in zip(services, parts.base[0], parts.contributions[0], strict=True)
    }


def _explanation(
    base: float, effects: NDArray[np.float64], profile: NDArray[np.float32], columns: Sequence[str]
) -> Explanation:
    strongest = np.argsort(-np.abs(effects), kind="stable")[:_N_REASONS]
    named = [int(column) for column in strongest if effects[column]]
    return Explanation(
        base=base,
        reasons=tuple(
            Reason(columns[column], float(profile[column]), float(effects[column])) for column in named
        ),
        rest=float(np.delete(effects, named).sum()),
    )
