"""The price of money: what a cost of 1 must earn on top, so that a budget is kept."""

from collections.abc import Callable

_STEPS = 60  # of bisection: the bracket shrinks by 2^60


def solve_price(spend_at: Callable[[float], float], budget: float, tolerance: float = 0.001) -> float:
    """The lowest price λ at which the decisions spend no more than the budget.

    Deciding by value − λ · cost spends less the higher λ is, so the price is found by doubling and
    bisection (Lagrange relaxation of the budget constraint).

    Parameters
    ----------
    spend_at : callable
        Money spent by the decisions made at a price; it must not rise with the price.
    budget : float
        Money that may be spent, 0 or more.
    tolerance : float
        Stop as soon as the spend is within this share below the budget.

    Returns
    -------
    float
        0 where the budget does not bind.

    Raises
    ------
    ValueError
        Where the budget is negative, or no price makes the decisions cheap enough.

    Examples
    --------
    Three services of value 3, 2 and 1 and cost 1 each: at a price of 1 or more the third is left.

    >>> price = solve_price(lambda price: sum(value - price > 0 for value in (3, 2, 1)), budget=2)
    >>> round(price, 6)
    1.0
    """
    if not budget >= 0:
        raise ValueError(f"budget must be 0 or more, got {budget}.")
    if spend_at(0.0) <= budget:
        return 0.0
    low, high = 0.0, 1.0
    while spend_at(high) > budget:
        low, high = high, high * 2
        if high > 1e12:
            raise ValueError(
                f"No price of money brings the spend down to {budget}; it stays at {spend_at(high)}."
            )
    for _ in range(_STEPS):
        middle = (low + high) / 2
        spent = spend_at(middle)
        if spent > budget:
            low = middle
        else:
            high = middle
            if spent >= budget * (1 - tolerance) > 0:
                break
        if high - low <= 1e-12 * high:
            break
    return high
