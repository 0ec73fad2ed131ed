"""Why a list has its length, in sentences for the one who reads the decision."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offers.ranking import Terms
from offers.types import AtMost


class Bounds(NamedTuple):
    """What a list was bound by beside its worth; the sentences leave out what binds nobody."""

    usual_longest: int = 0  # services that the setting allows; 0: as many as this user is allowed
    money: float = 0.0  # a unit of money spent must earn 1 + money
    showing: float = 0.0  # the most that showing one of the candidates is charged
    forced_losses: tuple[tuple[str, float], ...] = ()  # shown because they must be, and what each loses alone
    full_rules: tuple[tuple[tuple[str, ...], int], ...] = ()  # that kept a service of value out, and how many


def bounds_of(
    terms: Terms,
    names: Sequence[str],
    shown: Sequence[int],
    candidates: NDArray[np.bool_],
    must_show: NDArray[np.bool_],
    at_most: Sequence[AtMost],
    *,
    money: float,
    showing: NDArray[np.float64],
    usual_longest: int,
) -> Bounds:
    """What bound one user's list.

    Parameters
    ----------
    terms : Terms
        Of this user alone.
    names : sequence of str
        Of all services, in catalogue order.
    shown : sequence of int
        Catalogue positions of the list.
    candidates, must_show, showing : arrays of shape (n_services,)
    """
    value = terms.value[0]
    left_out = candidates & (value > 0) & ~np.isin(np.arange(len(value)), shown)
    return Bounds(
        usual_longest,
        money,
        float(showing[candidates].max(initial=0.0)),
        tuple((names[s], float(-value[s])) for s in shown if must_show[s] and value[s] < 0),
        tuple(
            (tuple(names[s] for s in rule.services if candidates[s]), rule.most)
            for rule in at_most
            if left_out[list(rule.services)].any() and len({*shown} & {*rule.services}) >= rule.most
        ),
    )


def n_reason(
    worth_by_length: Sequence[float], length: int, n_eligible: int, bounds: Bounds | None = None
) -> str:
    """Why the list has this length.

    >>> n_reason([0.0, 1.0, 1.5, 1.2], length=2, n_eligible=6)
    '2 services, worth 1.50: a list of 3 would be harder to choose from and worth 1.20.'
    >>> n_reason([0.0, 1.0, 1.5], 2, 6, Bounds(usual_longest=5))
    '2 services, worth 1.50: the longest list of this user; others may see 5.'
    """
    bounds = bounds or Bounds()
    if n_eligible == 0:
        return "Nothing: no service may be offered to this user now."
    first = _of_length(worth_by_length, length, n_eligible, bounds)
    forced = (
        f"{name} must be shown, though it alone loses {loss:.2f}." for name, loss in bounds.forced_losses
    )
    full = (
        f"A list may hold no more than {most} of {', '.join(names)}." for names, most in bounds.full_rules
    )
    return " ".join([first, *forced, *full, *_prices(bounds)])


def _of_length(worth_by_length: Sequence[float], length: int, n_eligible: int, bounds: Bounds) -> str:
    longest = len(worth_by_length) - 1
    if longest == 0:
        return "Nothing: this user's list may hold no service."
    if length == 0:
        if bounds.full_rules and worth_by_length[1] == -math.inf:
            return f"Nothing: no list of {n_eligible} eligible services keeps to the rules."
        return f"Nothing: none of {n_eligible} eligible services is expected to earn more than it costs."
    shown = f"{length} service{'s' if length > 1 else ''}, worth {worth_by_length[length]:.2f}"
    if length == longest < bounds.usual_longest:
        return f"{shown}: the longest list of this user; others may see {bounds.usual_longest}."
    if length == longest:
        return f"{shown}: the longest list allowed here."
    if worth_by_length[length + 1] > -math.inf:
        return (
            f"{shown}: a list of {length + 1} would be harder to choose from "
            f"and worth {worth_by_length[length + 1]:.2f}."
        )
    if bounds.full_rules:
        return f"{shown}: the rules allow no longer list."
    return f"{shown}: no other eligible service is expected to earn more than it costs."


def _prices(bounds: Bounds) -> list[str]:
    parts = []
    if bounds.money > 0:
        parts.append(f"money spent must earn {1 + bounds.money:.2f} times itself")
    if bounds.showing > 0:
        parts.append(f"showing a service is charged up to {bounds.showing:.2f}")
    return [f"A budget binds: {' and '.join(parts)}."] if parts else []
