"""A trained run before the gate: valued against its rivals on the exposures kept from it and the champion."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offers.rules import RuleSet
from offers.settings import Settings
from training import tracking
from training.bundle import Bundle, read_bundle
from training.champion import install_champion, read_champion
from training.dataset import Dataset
from training.evaluation.figures import PERKWISE
from training.evaluation.policy_value import doubly_robust, match_weights
from training.gate import PairedGain, Verdict, judge
from training.source import Source
from training.split import Split
from training.valuation import (
    Served,
    allowance_of,
    estimates_by,
    expected_margin,
    policies,
    single_offers,
)

Floats = NDArray[np.float64]


def promote(
    challenger: Bundle, source: Source, home: Path, settings: Settings, rules: RuleSet | None = None
) -> Verdict:
    """Judge a run's bundle on exposures that were kept from it; where the gate says yes, it is the champion.

    Ask as often as you like, as exposures come in: the gate's bounds hold at all looks.

    Parameters
    ----------
    challenger : Bundle
        The one kept with the run, as `tracking.find_run` tells it.
    source : Source
        The data folder, read with the challenger's layout.
    rules : RuleSet, optional
        The benefit rules, by which both are served.

    Raises
    ------
    ValueError
        Where the champion is damaged or the data hold no exposures that were kept from both.
    """
    champion = read_bundle(read_champion(home / "var")) if (home / "var" / "champion").is_symlink() else None
    if champion is not None and champion.hash == challenger.hash:
        tracking.set_champion_alias(home, champion.hash)  # an earlier promotion may have ended before it
        return Verdict(False, "keep: it is the champion already.", (), None)
    rows, gains = held_out_gains(challenger, champion, source, settings, rules)
    verdict = judge(gains, rows.user, settings.money.currency, settings.training.interval_level)
    if verdict.promote:
        install_champion(challenger.path, home / "var")
        tracking.set_champion_alias(home, challenger.hash)
    return verdict


def held_out_gains(
    challenger: Bundle,
    champion: Bundle | None,
    source: Source,
    settings: Settings,
    rules: RuleSet | None = None,
) -> tuple[Dataset, dict[str, PairedGain]]:
    """Exposures kept from both, and for each rival how much more the challenger is worth on them."""
    facts = challenger.manifest["training"]
    _, rows = Split(**facts["split"]).apply(source.dataset, source.history.user_ids)
    if champion is not None:
        _, rows = Split(**champion.manifest["training"]["split"]).apply(rows, source.history.user_ids)
    rows = rows.capped(facts["margin_cap"])
    estimates = challenger.estimates(rows.X, repurchase=False)
    allowed = allowance_of(Served(challenger, settings, rules or RuleSet()), source, rows)
    ours = policies(challenger, estimates, allowed, settings)
    q = expected_margin(challenger.uplift_margin.predict_baseline(rows.X), estimates, challenger.catalog)
    rivals = {}
    if champion is not None:
        own = replace(allowed, choice_load=champion.choice_load(allowed.tiers))
        theirs = estimates_by(champion, challenger, source, rows)  # it knows the services of its own day
        rivals["champion"] = single_offers(theirs, own, settings)
    rivals |= {name: ours[name] for name in ("best_constant", "response")}
    return rows, {
        name: _paired_gain(ours[PERKWISE], policy, rows, q, facts["margin_cap"])
        for name, policy in rivals.items()
    }


def _paired_gain(ours: Floats, theirs: Floats, rows: Dataset, q: Floats, margin_cap: float) -> PairedGain:
    """The gain on each row; it is linear in what the row earned, so its ends are those of the margin."""
    ours_weight, their_weight = (
        match_weights(policy, rows.service, rows.slate_propensity) for policy in (ours, theirs)
    )

    def gain(net_margin: Floats) -> Floats:
        return doubly_robust(ours, ours_weight, net_margin, rows.service, q) - doubly_robust(
            theirs, their_weight, net_margin, rows.service, q
        )

    found = gain(rows.net_margin())
    worst_margin = min(0.0, float(rows.margin.min()))
    ends = [
        gain(replace(rows, uptake=np.full(len(rows), used), margin=np.full(len(rows), margin)).net_margin())
        for used, margin in ((1.0, worst_margin), (0.0, margin_cap))
    ]
    return PairedGain(
        gain=found,
        ours=ours_weight > their_weight,
        theirs=their_weight > ours_weight,
        least=float(np.min([found, *ends])),
        most=float(np.max([found, *ends])),
    )
