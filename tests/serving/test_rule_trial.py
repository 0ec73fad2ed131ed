"""A dry run: what differs, and the lists that are decided once where both sets of rules ask the same."""

import numpy as np
import pytest

from features.allowance import allow
from features.history import History
from features.pipeline import compute
from features.rule_facts import vocabulary_of
from features.rules_file import parse_yaml
from offers.rule_parsing import parse_rules
from offers.rules import RuleSet
from offers.settings import Settings
from serving.rule_trial import _decide_twice, try_rules

NOW = 1_790_000_000_000_000
CHANGES = [
    "rules:\n  - {name: r, services: [FIRST], who: frequency_90d >= 2}",
    "rules:\n  - {name: r, services: [LAST], must_show: frequency_90d >= 1}",
    "rules:\n  - {name: r, services: all, limits: {list_at_most: 1}}",
    "rules:\n  - {name: r, services: all, limits: {showings: {most: 2, days: 30}}}",
]


def rules_of(text, bundle):
    words = vocabulary_of(bundle.layout, bundle.tiers.names, bundle.catalog, Settings())
    read = parse_yaml(
        text.replace("FIRST", bundle.catalog.ids[0]).replace("LAST", bundle.catalog.ids[-1]).encode()
    )
    rules, findings = parse_rules(read.content, words, read.digest)
    assert not [str(one) for one in findings if one.severity == "fault"]
    return rules


@pytest.mark.parametrize("text", CHANGES)
@pytest.mark.parametrize("is_new", [True, False])
def test_whoever_is_asked_the_same_gets_the_same_list(tables, bundle, text, is_new):
    history = History.of(tables, bundle.layout, bundle.windows.uptake_days)
    n = len(history.user_ids)
    everybody, now = np.arange(n), np.full(n, int(tables.exposures["shown_at"].max().timestamp() * 1e6))
    profiles = compute(history, bundle.layout, everybody, now)
    estimates, settings = bundle.estimates(profiles), Settings()
    rules = [RuleSet(), rules_of(text, bundle)]
    old, new = (
        allow(bundle, history, settings, profiles, everybody, now, one)
        for one in (rules if is_new else reversed(rules))
    )
    before, after = _decide_twice(estimates, old, new, settings)
    for found, allowed in ((before, old), (after, new)):
        whole = allowed.decide(estimates, settings.decision)
        assert (found.services == whole.services).all() and (found.length == whole.length).all()
        assert np.array_equal(found.worth_by_length, whole.worth_by_length)
    assert (before.services != after.services).any()


def test_a_trial_of_the_same_rules_changes_nothing(tables, bundle):
    rules = rules_of(CHANGES[0], bundle)
    found = try_rules(tables, bundle, Settings(), rules, rules, NOW, seed=0)
    assert (found.n_other_list, found.worth, found.examples) == (0, (0.0, 0.0, 0.0), ())
