"""The lists of all users at one moment, decided as the service decides, as rows of the table exposures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.allowance import allow
from features.history import History
from features.pipeline import compute
from features.tables import Tables
from offers.allocation import Allocation, Case, allocate
from offers.budget import MONEY, Budget, budgets_of, prices_of
from offers.decision import Decisions, make_decisions
from offers.eligibility import BUDGET
from offers.holdouts import memberships
from offers.policy import expected_costs
from offers.ranking import is_known
from offers.restrictions import restrict
from offers.rules import RuleSet
from offers.settings import Settings
from offers.tracks import Tracks, check_services
from offers.types import Estimates, Progress
from training.bundle import Bundle


@dataclass(frozen=True)
class Scores:
    """What a batch decided."""

    rows: pd.DataFrame  # columns of the table exposures, then uptake, uplift, value, cost and cold
    money_price: float  # what a cost of 1 had to earn on top
    expected_cost: float  # of the policy's lists, currency units
    allocation: Allocation  # budgets, their prices, and how far the lists may be from the best


def score(
    tables: Tables,
    bundle: Bundle,
    settings: Settings,
    now_us: int,
    seed: int,
    budget: float | None = None,
    rules: RuleSet | None = None,
    progress: Progress | None = None,
) -> Scores:
    """One list for every user, with the propensities by which it was drawn.

    Parameters
    ----------
    now_us : int
        The moment of the decisions, microseconds since 1970; later rows are not known.
    seed : int
        The same seed draws the same exploration.
    budget : float, optional
        Money that the lists may be expected to cost together, beside the budgets of the settings.
    rules : RuleSet, optional
        The benefit rules. No channel is told, so what a rule keeps for a channel is shown to nobody.

    Returns
    -------
    Scores
        ``rows`` has a row for each service of a list, and one without a service where nothing is
        shown; uptake, uplift, value and cost are those of the service offered alone, and cold says that
        they come from services like it.
    """
    history = History.of(tables, bundle.layout, bundle.windows.uptake_days)
    n_users = len(history.user_ids)
    profiles = compute(history, bundle.layout, np.arange(n_users), np.full(n_users, now_us), progress)
    estimates = bundle.estimates(profiles, repurchase=False, progress=progress)
    check_services(settings, bundle.catalog)
    allowance = allow(
        bundle, history, settings, profiles, np.arange(n_users), np.full(n_users, now_us), rules
    )
    tracks, load = allowance.tracks, allowance.choice_load
    held = memberships(
        history.user_ids, settings.exploration, settings.holdouts, bundle.catalog, tracks.services, now_us
    )
    allowed = restrict(allowance.eligibility, tracks, held)
    everybody = Case(
        estimates,
        allowed.mask & is_known(estimates),
        bundle.catalog,
        settings.decision,
        tracks.of_user,
        tracks.max_services,
        load,
        allowed.list_rules,
    )
    served = everybody.take(np.flatnonzero(~held.nothing))  # the others cost nothing
    budgets = _budgets(settings, bundle, tracks, budget)
    found = allocate(served, budgets, np.random.default_rng(seed))
    finite = np.where(np.isfinite(found.price), found.price, 0.0)
    barred = np.zeros_like(allowed.mask)
    barred[~held.nothing] = found.barred
    kept = allowed.without(barred, lambda user, place: "the budgets have no room left for it", BUDGET)
    made = make_decisions(
        estimates,
        kept,
        settings,
        held.nothing,
        [(seed, user) for user in range(n_users)],
        max_services=tracks.max_services,
        choice_load=load,
        prices=prices_of(finite, budgets, estimates, bundle.catalog, tracks.of_user),
        list_rules=kept.list_rules,
        nothing_share=held.share,
    )
    priced = _dearer(settings, _price_for_all(budgets, finite))
    costs = expected_costs(made.slates, estimates, bundle.catalog, settings.decision, load)
    return Scores(
        rows=_rows(_shown(made), history.user_ids, estimates, bundle, priced, now_us),
        money_price=priced.decision.money_price,
        expected_cost=float(costs[~held.nothing].sum()),
        allocation=found,
    )


def _budgets(settings: Settings, bundle: Bundle, tracks: Tracks, budget: float | None) -> tuple[Budget, ...]:
    """Those of the settings, each as if this batch were all of its period, and the one that was asked for."""
    asked = () if budget is None else (Budget("--budget", MONEY, budget),)
    return (*budgets_of(settings.budgets, bundle.catalog, tracks.names), *asked)


def _price_for_all(budgets: Sequence[Budget], price: NDArray[np.float64]) -> float:
    """What money costs everybody, whatever is shown."""
    return float(
        sum(
            at
            for one, at in zip(budgets, price.tolist())
            if one.kind == MONEY and one.service == one.track == -1
        )
    )


def _dearer(settings: Settings, price: float) -> Settings:
    decision = replace(settings.decision, money_price=settings.decision.money_price + price)
    return replace(settings, decision=decision)


def _shown(made: Decisions) -> pd.DataFrame:
    """What each user is shown, a row a service; ``place`` is in the catalogue, −1 for nothing."""
    is_row = made.services >= 0
    is_row[:, 0] |= made.length == 0
    user, rank = np.nonzero(is_row)
    place = made.services[user, rank]
    return pd.DataFrame(
        {
            "user": user,
            "arm": made.arms[user].astype(object),
            "position": rank + 1,
            "place": place,
            "propensity": np.where(place < 0, made.slate_propensity[user], made.propensities[user, rank]),
            "slate_propensity": made.slate_propensity[user],
        }
    )


def _rows(
    shown: pd.DataFrame,
    user_ids: Sequence[str],
    estimates: Estimates,
    bundle: Bundle,
    settings: Settings,
    now_us: int,
) -> pd.DataFrame:
    user, place = shown["user"].to_numpy(), shown["place"].to_numpy()
    is_service = place >= 0
    uptake, uplift = (
        np.where(is_service, array[user, place], np.nan)
        for array in (estimates.uptake, estimates.uplift_margin)
    )
    cost = uptake * bundle.catalog.unit_cost[place] + bundle.catalog.contact_cost[place]
    return pd.DataFrame(
        {
            "slate_id": [f"score-{now_us}-{number}" for number in user],
            "user_id": np.array(user_ids, dtype=object)[user],
            "shown_at": pd.to_datetime(np.full(len(shown), now_us), unit="us", utc=True),
            "service_id": np.array([*bundle.catalog.ids, ""], dtype=object)[place],
            "propensity": shown["propensity"],
            "position": shown["position"],
            "slate_propensity": shown["slate_propensity"],
            "channel": "",
            "arm": shown["arm"],
            "uptake": uptake,
            "uplift": uplift,
            "value": uplift - cost * (1 + settings.decision.money_price),
            "cost": cost,
            "cold": is_service & bundle.cold[place],
        }
    )
