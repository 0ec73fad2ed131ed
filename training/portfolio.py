"""The service value matrix of a data folder, as a bundle sees it."""

from pathlib import Path

import numpy as np

from features.history import History
from features.pipeline import compute
from features.tables import load_tables
from features.tiers import TIER_COLUMN
from offers.eligibility import eligible
from offers.ranking import is_known
from offers.settings import Settings
from offers.types import Progress
from training.bundle import Bundle
from training.evaluation.portfolio import Portfolio, portfolio


def portfolio_of(
    data: Path,
    bundle: Bundle,
    settings: Settings,
    now_us: int,
    core: int,
    n_users: int,
    seed: int,
    progress: Progress | None = None,
) -> Portfolio:
    """Demand and supply of every service, and the core, for at most ``n_users`` users drawn at random."""
    tables = load_tables(data, settings.money)
    history = History.of(tables, bundle.layout, bundle.windows.uptake_days)
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.permutation(len(history.user_ids))[:n_users])
    X = compute(history, bundle.layout, drawn, np.full(len(drawn), now_us), progress)
    estimates = bundle.estimates(X, repurchase=False, progress=progress)
    tiers = bundle.tiers.of(X[:, bundle.layout.columns.index(TIER_COLUMN)]).tolist()
    nps = tables.feedback.dropna(subset=["service_id"]).groupby("service_id")["nps"].mean()
    return portfolio(
        estimates,
        eligible(bundle.catalog, tiers, now_us).mask & is_known(estimates),
        bundle.catalog,
        settings.decision,
        core=core,
        average_error=bundle.uplift_margin.average_se_,
        nps={str(service): float(score) for service, score in nps.items()},
        days=settings.windows.uptake_days,
        currency=settings.money.currency,
        level=settings.training.interval_level,
        rng=rng,
        choice_load=bundle.choice_load(tiers),
    )
