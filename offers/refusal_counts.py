"""How many services are not offered, by kinds so few that a counter may have one for each.

A kind is a word; of benefit rules the name of the rule stands beside it. No id of a user, no number and no
other text is in either, so that there are never more than these kinds and the rules of the file.
"""

import numpy as np

from offers.decision import Decisions
from offers.eligibility import HOLDOUT, RULE, Eligibility
from offers.exploration import HOLDOUT as HELD_OUT
from offers.rule_plan import N_KINDS

NO_ESTIMATE = "no_estimate"

Counts = dict[tuple[str, str], int]  # by kind and name of the rule, "": no rule; only what is above 0


def refusal_counts(made: Decisions) -> Counts:
    """Services that these users could not be offered, each once, by the kind of the first reason.

    What a user in the holdout of everything might have been shown otherwise counts as ``holdout``. Whatever
    is not counted could have been in a list.
    """
    counts = _refused(made.allowed)
    n_open = int(np.count_nonzero(made.candidates))
    n_unknown = int(np.count_nonzero(made.allowed.mask)) - n_open
    if n_unknown:
        counts[NO_ESTIMATE, ""] = n_unknown
    held_out = made.arms == HELD_OUT
    if held_out.any():
        n_held = int(np.count_nonzero(made.candidates[held_out]))
        counts[HOLDOUT, ""] = counts.get((HOLDOUT, ""), 0) + n_held
    return {key: n for key, n in counts.items() if n}


def _refused(allowed: Eligibility) -> Counts:
    """By what catalogue, rules, tracks, holdouts and budgets refused."""
    by_verdict = np.bincount(allowed.verdict.ravel()).tolist()
    counts: Counts = {}
    for kind, n in zip(allowed.kinds, by_verdict):
        if n and kind == RULE:
            counts |= _by_rules(allowed)
        elif n and kind:
            counts[kind, ""] = counts.get((kind, ""), 0) + n
    return counts


def _by_rules(allowed: Eligibility) -> Counts:
    """By the name of the rule that refused first."""
    assert allowed.ruled is not None
    numbers = (allowed.ruled.verdict[allowed.verdict == allowed.kinds.index(RULE)] - 1) // N_KINDS
    rules = allowed.ruled.rules.rules
    return {(RULE, rules[rule].name): n for rule, n in enumerate(np.bincount(numbers).tolist()) if n}
