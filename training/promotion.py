"""A trained run before the gate: valued against the champion and the best constant on rows kept from both."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.history import History
from features.pipeline import compute
from offers.settings import Settings
from training import tracking
from training.bundle import Bundle, read_bundle
from training.champion import install_champion, read_champion
from training.dataset import Dataset
from training.evaluation.figures import PERKWISE
from training.evaluation.policy_value import doubly_robust, match_weights
from training.gate import Verdict, judge
from training.source import Source
from training.split import Split
from training.valuation import expected_margin, may_offer, policies

Floats = NDArray[np.float64]


def promote(challenger: Bundle, source: Source, home: Path, settings: Settings) -> Verdict:
    """Judge a run's bundle on exposures that were kept from it; where the gate says yes, it is the champion.

    Parameters
    ----------
    challenger : Bundle
        The one kept with the run, as `tracking.find_run` tells it.
    source : Source
        The data folder, read with the challenger's layout.

    Raises
    ------
    ValueError
        Where the champion is damaged or the data hold no exposures that were kept from both.
    """
    champion = read_bundle(read_champion(home / "var")) if (home / "var" / "champion").is_symlink() else None
    rows, gains = held_out_gains(challenger, champion, source, settings)
    verdict = judge(gains, rows.user, settings.training.interval_level)
    if verdict.promote:
        install_champion(challenger.path, home / "var")
        tracking.set_champion_alias(home, challenger.hash)
    return verdict


def held_out_gains(
    challenger: Bundle, champion: Bundle | None, source: Source, settings: Settings
) -> tuple[Dataset, dict[str, Floats]]:
    """Exposures kept from both, and for each rival how much more the challenger is worth on them.

    Gains are doubly robust values of the challenger less those of the rival, shape (n,), currency units.
    """
    facts = challenger.manifest["training"]
    _, rows = Split(**facts["split"]).apply(source.dataset, source.history.user_ids)
    if champion is not None:
        _, rows = Split(**champion.manifest["training"]["split"]).apply(rows, source.history.user_ids)
    rows = rows.capped(facts["margin_cap"])
    estimates = challenger.estimates(rows.X, repurchase=False)
    may = may_offer(challenger, rows.X, rows.shown_at_us)
    ours = policies(challenger, estimates, may, settings)
    q = expected_margin(challenger.uplift_margin.predict_baseline(rows.X), estimates, challenger.catalog)
    rivals = {"best_constant": ours["best_constant"]}
    if champion is not None:
        rivals["champion"] = _champion_policy(champion, challenger, source, rows, may, settings)
    value = _doubly_robust(ours[PERKWISE], rows, q)
    return rows, {name: value - _doubly_robust(policy, rows, q) for name, policy in rivals.items()}


def _champion_policy(
    champion: Bundle,
    challenger: Bundle,
    source: Source,
    rows: Dataset,
    may: NDArray[np.bool_],
    settings: Settings,
) -> Floats:
    """What the champion would show, in the challenger's order of services; it knows those of its own day."""
    history = History.of(source.tables, champion.layout, settings.windows.uptake_days)
    X = compute(history, champion.layout, rows.user, rows.shown_at_us)
    known = [challenger.catalog.position_of.get(service_id, -1) for service_id in champion.catalog.ids]
    own_may = np.column_stack([may[:, p] if p >= 0 else np.zeros(len(rows), bool) for p in known])
    own = policies(champion, champion.estimates(X, repurchase=False), own_may, settings)[PERKWISE]
    policy = np.zeros((len(rows), len(challenger.catalog) + 1))
    policy[:, 0] = own[:, 0]
    for column, position in enumerate(known):
        if position >= 0:
            policy[:, position + 1] = own[:, column + 1]
    return policy


def _doubly_robust(policy: Floats, rows: Dataset, q: Floats) -> Floats:
    weights = match_weights(policy, rows.service, rows.slate_propensity)
    return doubly_robust(policy, weights, rows.net_margin(), rows.service, q)
