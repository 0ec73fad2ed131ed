"""Faults of rules files: all at once, with line and remedy; contradictions, pairs apart, switches."""

import random
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.rules_file import parse_yaml, read_rules
from offers.catalog import Catalog
from offers.rule_checks import check_rules, switches_of
from offers.rule_conditions import ConditionError, parse_condition
from offers.rule_diff import changes
from offers.rules import FAULT, TIER, ColumnKind, Limits, Rule, RuleSet, Vocabulary
from offers.types import Service
from tests.offers.rule_shop import WORDS, findings_of, rules_of


def told(text, severity="fault"):
    return [str(one) for one in findings_of(text) if one.severity == severity]


def test_all_faults_come_at_once_with_their_lines_and_the_nearest_names():
    found = told(
        "timezone: Europe/Pariss\n"
        "rulez: 1\n"
        "rules:\n"
        "  - name: x\n"
        "    services: [luonge]\n"
        "    who: tierr == 'gold'\n"
        "    when: {hours: 9-25, chanel: app, channel: ap}\n"
        "    limits: {capacity_per_day: 0}\n"
        "  - services: {category: cars}\n"
        "    who: orders == 'many'\n"
        "  - {name: y, services: gift, who: tier == 'gol'}\n"
    )
    expected = [
        "line 1: timezone must be a name such as Europe/Paris",
        "line 2: unknown `rulez` in rules.yaml; did you mean `rules`?",
        "line 5: rule `x`: there is no service `luonge`; did you mean `lounge`?",
        "line 6: rule `x`: who: there is no column `tierr`; did you mean `tier`?",
        "line 7: rule `x`: hours must be such as 09:00-18:00",
        "line 7: rule `x`: there is no channel `ap`; did you mean `app`?",
        "line 7: rule `x`: unknown `chanel` in when; did you mean `channel`?",
        "line 8: rule `x`: capacity_per_day is 0, so that nothing could ever be shown",
        "line 9: rule 2: a rule needs a name",
        "line 9: rule 2: there is no category `cars`; did you mean `car`?",
        "line 10: rule 2: who: `orders` is a number, compared with the text 'many'",
        "line 11: rule `y`: who: `tier` is never 'gol'; did you mean `gold`?",
    ]
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected)), found


def one(text, services="[gift]"):
    return f"rules:\n  - name: r\n    services: {services}\n    {text}\n"


@pytest.mark.parametrize(
    "text, fault",
    [
        (one("who: orders < 0"), "line 4: rule `r`: nobody can fit `orders < 0`"),
        (one("who: age > 3 and age < 3"), "nobody can fit"),
        (one("who: age > orders and orders > age"), "nobody can fit"),
        (one("who: tier == 'gold'\n    must_show: tier == 'basic'"), "must_show can hold for nobody"),
        (
            one("who: tier == 'basic'", "[lounge]"),
            "The catalogue's tiers (gold, platinum) and rule `r` contradict",
        ),
        (
            one("limits: {list_at_most: 1}\n    must_show: orders > 1", "{category: car}"),
            "at most 1 in a list, but wash-a and wash-b must all be shown, for example to orders 2",
        ),
        (
            one("must_show: true") + "  - {name: s, services: gift, switchable: true, enabled: false}\n",
            "must show gift, which `s` has switched off",
        ),
        (one("when: {from: 2026-05-02, until: 2026-05-01}"), "`until` must be after `from`"),
        (one("providers: [a]", "{category: car}"), "providers must name two or more"),
        (one("enabled: false"), "`enabled` needs `switchable: true`"),
        ("rules:\n  - name: a\n  name: b\n", "this is not whole YAML"),
        ("rules: [{name: a, services: *x}]", "anchors (&) and aliases (*) are not understood"),
        ("rules: []\nrules: []\n", "line 2: `rules` stands twice, first in line 1"),
        ("", "the file is empty"),
        ("a: !!python/object:os.system {}", "is not understood: write the value without it"),
        ("[" * 40 + "]" * 40, "at most 12 levels"),
    ],
)
def test_a_fault_says_what_to_do(text, fault):
    found = told(text)
    assert len(found) == 1 and fault in found[0], found


def test_a_date_that_has_ended_is_warned_of():
    (warning,) = told(one("when: {until: 2026-05-01}"), "warning")
    assert "ended on 2026-05-01, so that gift can be shown to nobody" in warning


def test_two_rules_that_leave_nobody_are_told_as_the_smallest_conflict():
    found = told(
        "rules:\n"
        "  - {name: a, services: all, who: orders < 3}\n"
        "  - {name: b, services: gift, who: age > 1}\n"
        "  - {name: c, services: gift, who: orders > 5}\n"
    )
    assert found == [
        "line 4: Rule `a` and rule `c` contradict each other for gift: nobody can be shown it. "
        "Take the service out of one, or mend a condition."
    ]


def test_pairs_that_are_never_shown_together_are_told_with_an_example():
    notes = told(
        "rules:\n"
        "  - {name: new, services: gift, who: orders < 2}\n"
        "  - {name: old, services: {category: car}, who: orders >= 2}\n",
        "note",
    )
    assert any("2 pairs are never shown together, such as gift and wash-a" in note for note in notes)


def test_all_combinations_of_seven_switches_are_tried():
    ids = ["gift", "lounge", "wash-a", "wash-b", "all", "all", "{category: car}"]
    text = "rules:\n" + "".join(
        f"  - {{name: s{n}, services: {which}, switchable: true}}\n" for n, which in enumerate(ids)
    )
    found = switches_of(rules_of(text), WORDS)
    assert found.n_combinations == 128
    assert found.nothing[0] == ("s4",)
    off = {("s0", "s1", "s6"), ("s0", "s1", "s2", "s3"), ("s5",)}
    assert off <= set(found.nothing) and ("s0",) not in found.nothing
    # 96 with s4 or s5 off; of the other 32 those without gift and lounge, and without s6 or both washes
    assert len(found.nothing) == 96 + 5
    assert (
        "at most 7 rules may be switchable"
        in told(text + "  - {name: t, services: gift, switchable: true}\n")[0]
    )


@pytest.mark.parametrize(
    "text",
    [
        "a.b > 1",
        "9**9**9 > 1",
        "age =~ '(a+)+$'",
        "__import__('os')",
        "age > 1e300",
        "1 < age < 3",
        "age",
        "(" * 30 + "age",
        "x" * 2000,
        "[n for n in age]",
        "age > 1 ? true : false",
        "tier",
        "orders in age",
        "'a' + 'b' == tier",
    ],
)
def test_what_is_no_condition_is_refused_in_words(text):
    if text == "age":
        parse_condition(text, WORDS)  # a number is true where it is not 0
        return
    with pytest.raises(ConditionError, match=r"\w+ \w+"):
        parse_condition(text, WORDS)


@given(st.text("agetirodns <>=!()[]\"'*/+-.,0129&|?:$~\\", max_size=60))
def test_no_text_breaks_the_parser(text):
    try:
        parse_condition(text, WORDS)
    except ConditionError as error:
        assert str(error)


def test_a_file_cut_off_anywhere_is_never_a_crash(tmp_path):
    whole = one(
        "who: orders > 1 and tier in ['gold']\n    when: {hours: '09:00-10:00'}\n"
        "    limits: {list_at_most: 1}"
    )
    rng = random.Random(0)
    for end in rng.sample(range(len(whole)), 60):
        (tmp_path / "rules.yaml").write_text(whole[:end])
        assert isinstance(read_rules(tmp_path / "rules.yaml").faults, tuple)
        for finding in findings_of(whole[:end]):
            assert re.match(r"line \d+: .{10}", str(finding))


def test_a_difference_is_told_in_words():
    old = rules_of(one("who: orders > 1"))
    new = rules_of(
        one("who: orders > 2\n    limits: {list_at_most: 1}", "[gift, lounge]")
        + "  - {name: n, services: all, must_show: true}"
    )
    assert changes(old, new) == [
        "New rule `n` for gift, lounge, wash-a, wash-b.",
        "Rule `r`: it speaks of lounge too.",
        "Rule `r`: who was `orders > 1`, is `orders > 2`.",
        "Rule `r`: limits.list_at_most was not set, is `1`.",
    ]
    assert changes(old, old) == []


def test_the_parser_refuses_binary(tmp_path):
    assert "must be text in UTF-8" in parse_yaml(b"rules: \x80\x81").faults[0].text


def test_rules_whose_lists_cannot_be_counted_in_the_time_of_a_decision_are_a_fault():
    catalog = Catalog.of(Service(f"S{number:02}", f"Service {number}") for number in range(35))
    rng = np.random.default_rng(0)
    rules = [
        Rule(
            f"r{number}",
            number,
            tuple(f"S{place:02}" for place in sorted(chosen)),
            limits=Limits(list_at_most=3),
        )
        for number, chosen in enumerate(rng.choice(35, 8, replace=False).tolist() for _ in range(30))
    ]
    vocabulary = Vocabulary(catalog, {TIER: ColumnKind(("basic",))})
    (fault,) = [one for one in check_rules(RuleSet(tuple(rules)), vocabulary, 10, 0) if one.severity == FAULT]
    assert fault.line == 29 and "Let fewer services stand in several groups." in fault.text
    found = check_rules(RuleSet(tuple(rules[:3])), vocabulary, 10, 0)
    assert not [one for one in found if one.severity == FAULT]
