"""What rules refuse and why, what must be shown, and that no mixture of them lets anything slip."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.rules_file import parse_yaml
from offers.eligibility import eligible
from offers.rule_evaluation import Facts, Past
from offers.rule_parsing import parse_rules
from offers.types import AtMost
from tests.offers.rule_shop import CATALOG, NOON_US, TIERS, WORDS, ask, by_service, reasons, rules_of

HOUR_US = 3_600_000_000


def rule(text):
    return rules_of(f"rules:\n  - {{name: r, services: [gift], {text}}}")


@pytest.mark.parametrize(
    "text, facts, reason",
    [
        ('who: tier in ["platinum"]', {}, "tier is gold, needs platinum"),
        ("who: orders >= 2", {"orders": 1.0}, "orders is 1, needs at least 2"),
        ("who: age >= 18", {}, "age is not known"),
        ('who: city == "Paris"', {}, "attribute/city".replace("attribute/city", "city is Lyon, needs Paris")),
        ("who: orders > 1 or orders == age", {}, "orders is 0, needs more than 1, and age is not known"),
        ("when: {until: 2026-06-01}", {}, "it ended at 2026-06-01 00:00 UTC"),
        ("when: {from: 2026-06-02}", {}, "it begins at 2026-06-02 00:00 UTC"),
        ("when: {weekdays: [tue, sun]}", {}, "it is mon, needs tue, sun"),
        ("when: {hours: 18:00-08:00}", {}, "it is 12:00 in UTC, needs 18:00-08:00"),
        ("when: {channel: app}", {"channel": "email"}, "the channel is email, needs app"),
        ("when: {channel: app}", {}, "the channel is not told, needs app"),
        (
            "limits: {showings: {most: 2, days: 7}}",
            {"shown": by_service(gift=2)},
            "it was shown 2 times in 7 days, at most 2 are allowed",
        ),
        (
            "limits: {cooldown_days: {used: 3}}",
            {"since": {"used": by_service(gift=2.0)}},
            "it was used 2.0 days ago, needs 3 days",
        ),
        (
            "limits: {capacity_per_day: 3}",
            {"today": by_service(gift=3)},
            "its capacity of 3 a day is used up",
        ),
        ("switchable: true, enabled: false", {}, "it is switched off"),
    ],
)
def test_a_refusal_names_the_rule_and_the_fact(text, facts, reason):
    text = text.replace('who: tier in ["platinum"]', "who: 'tier in [\"platinum\"]'")
    assert reasons(ask(rule(text), **facts)) == {"gift": f"rule `r`: {reason}"}


@pytest.mark.parametrize(
    "text, facts",
    [
        ("who: orders >= 2", {"orders": 2.0}),
        ("who: age == null", {}),
        ("who: orders > 1 or age > 18", {"orders": 2.0}),
        ("when: {hours: 12:00-13:00, weekdays: mon}", {}),
        ("when: {channel: [app, email]}", {"channel": "app"}),
        ("limits: {showings: {most: 3, days: 7}}", {"shown": by_service(gift=2)}),
        ("limits: {cooldown_days: {used: 2}}", {"since": {"used": by_service(gift=2.0)}}),
        ("limits: {capacity_per_day: 4}", {"today": by_service(gift=3)}),
        ("switchable: true, enabled: true", {}),
    ],
)
def test_what_fits_a_rule_is_allowed(text, facts):
    assert reasons(ask(rule(text), **facts)) == {}


def test_hours_are_the_shop_s_own():
    rules = rules_of(
        "timezone: Europe/Paris\nrules:\n  - {name: r, services: [gift], when: {hours: 14:00-15:00}}"
    )
    assert reasons(ask(rules)) == {}
    assert "13:30 in Europe/Paris" in reasons(ask(rules, now_us=NOON_US - HOUR_US // 2))["gift"]


def test_when_one_provider_is_used_up_the_next_takes_its_turn_and_never_both():
    rules = rules_of(
        "rules:\n  - {name: w, services: {category: car}, providers: [a, b], limits: {capacity_per_day: 5}}"
    )
    assert reasons(ask(rules)) == {"wash-b": "rule `w`: another provider than b has its turn"}
    assert reasons(ask(rules, today=by_service(wash_a=5))) == {
        "wash-a": "rule `w`: its capacity of 5 a day is used up"
    }
    assert set(reasons(ask(rules, today=by_service(wash_a=5, wash_b=5)))) == {"wash-a", "wash-b"}


def test_the_capacity_of_a_provider_is_that_of_all_its_services():
    rules = rules_of(
        "rules:\n  - {name: p, services: {category: [car, home]}, limits: {provider_capacity_per_day: 4}}"
    )
    found = reasons(ask(rules, today=by_service(wash_a=4, wash_b=3)))
    assert found == {"wash-a": "rule `p`: the capacity of a, 4 a day, is used up"}


def test_showings_may_be_counted_together():
    text = (
        "rules:\n  - {{name: s, services: {{category: car}}, limits: {{showings: {{most: 2, days: 7{}}}}}}}"
    )
    shown = by_service(wash_a=1, wash_b=1)
    assert reasons(ask(rules_of(text.format("")), shown=shown)) == {}
    assert set(reasons(ask(rules_of(text.format(", together: true")), shown=shown))) == {"wash-a", "wash-b"}


def test_lists_learn_what_excludes_each_other_and_what_must_be_shown():
    rules = rules_of(
        "rules:\n"
        "  - {name: one, services: {category: car}, limits: {list_at_most: 1}}\n"
        "  - {name: must, services: [lounge], must_show: true}\n"
        "  - {name: else, services: [lounge], who: orders > 1, fallback: [gift, wash-a]}"
    )
    allowed = ask(rules, orders=2.0)
    assert allowed.list_rules.at_most == (AtMost((2, 3), 1),)
    assert allowed.list_rules.must_show.tolist() == [[False, True, False, False]]
    assert ask(rules).list_rules.must_show.tolist() == [[True, False, False, False]]  # the fallback


def test_the_catalogue_refuses_first_and_the_first_rule_gives_the_reason():
    rules = rules_of(
        "rules:\n  - {name: a, services: all, who: orders > 1}\n  - {name: b, services: all, who: orders > 2}"
    )
    found = reasons(ask(rules, tier="basic"))
    assert found["lounge"] == "only for tiers gold, platinum; the user is in basic"
    assert found["gift"] == "rule `a`: orders is 0, needs more than 1"


def test_without_rules_nothing_changes():
    assert ask(rules_of("# nothing\n")).mask.all() and ask(rules_of("rules: []")).ruled is None


def test_a_rule_of_a_service_that_is_gone_is_left_out_when_served_and_a_fault_when_checked():
    content = parse_yaml(b"rules:\n  - {name: r, services: [gone, gift], who: orders > 1}").content
    rules, findings = parse_rules(content, WORDS, is_lenient=True)
    assert [str(one) for one in findings if one.severity == "warning"] == [
        "line 2: rule `r`: there is no service `gone`; did you mean `lounge`? It is left out."
    ]
    assert set(reasons(ask(rules))) == {"gift"}
    assert [one.severity for one in parse_rules(content, WORDS)[1]] == ["fault"]


CONDITIONS = st.sampled_from(
    [
        "orders >= 2",
        "age < 30",
        "age == null",
        "city != 'Lyon'",
        "tier >= 'gold'",
        "not (orders > 1 and age > 20)",
    ]
)
PARTS = st.fixed_dictionaries(
    {"services": st.sampled_from(["all", "[gift]", "{category: car}", "[lounge, gift]"])},
    optional={
        "who": CONDITIONS.map(lambda text: f'"{text}"'),
        "when": st.sampled_from(["{hours: 09:00-11:00}", "{weekdays: [mon]}", "{channel: app}"]),
        "limits": st.sampled_from(
            [
                "{showings: {most: 1, days: 7}}",
                "{cooldown_days: {declined: 5}}",
                "{capacity_per_day: 2, list_at_most: 1}",
            ]
        ),
        "must_show": CONDITIONS.map(lambda text: f'"{text}"'),
        "fallback": st.just("[gift]"),
    },
).filter(lambda parts: len(parts) > 1)
NUMBERS = st.one_of(st.just(float("nan")), st.floats(-5, 50))


@given(
    st.lists(PARTS, max_size=5),
    st.sampled_from(TIERS),
    NUMBERS,
    NUMBERS,
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
    st.sampled_from(["", "app", "email"]),
)
def test_every_refusal_has_a_reason_and_what_must_be_shown_is_eligible(
    parts, tier, orders, age, counts, channel
):
    rules = rules_of(text_of(parts))
    numbers = np.array([counts])
    found = ask(rules, tier, shown=numbers, today=numbers, channel=channel, orders=orders, age=age)
    told = reasons(found)
    assert set(told) == {one for one, ok in zip(CATALOG.ids, found.mask[0]) if not ok}
    assert all(len(reason) > 10 for reason in told.values())
    if found.list_rules is not None:
        assert not (found.list_rules.must_show & ~found.mask).any()


def text_of(parts):
    lines = ["rules:"]
    for number, one in enumerate(parts):
        lines.append(f"  - name: r{number}")
        lines += [f"    {key}: {value}" for key, value in one.items()]
    return "\n".join(lines) if parts else "rules: []"


MORE = st.fixed_dictionaries(
    {"services": st.sampled_from(["all", "[gift]", "{category: car}", "[wash-a, wash-b, gift]"])},
    optional={
        "who": st.sampled_from(
            [
                "orders / age > 1 or age == null",
                "orders - age < 3 and orders * 2 != 4",
                "orders / 0 > 1",
                "not (age >= 18 or city == 'Paris')",
                "true",
            ]
        ).map(lambda text: f'"{text}"'),
        "when": st.sampled_from(
            ["{from: 2026-06-02}", "{hours: 22:00-13:00, weekdays: [mon, tue]}", "{scenario: trip}"]
        ),
        "limits": st.sampled_from(
            [
                "{showings: {most: 3, days: 7, together: true}}",
                "{cooldown_days: {used: 2, shown: 1}, showings: {most: 2, days: 3}}",
                "{provider_capacity_per_day: 3, capacity_per_day: 2}",
            ]
        ),
        "providers": st.just("[b, a]"),
        "must_show": CONDITIONS.map(lambda text: f'"{text}"'),
        "fallback": st.just("[lounge, gift]"),
    },
).filter(lambda parts: len(parts) > 1 and ("providers" not in parts or "car" in parts["services"]))
COUNTS = st.lists(st.integers(0, 3), min_size=4, max_size=4)
USERS = st.tuples(
    st.integers(0, 2),
    NUMBERS,
    NUMBERS,
    COUNTS,
    st.lists(st.one_of(st.just(float("nan")), st.floats(0, 4)), min_size=4, max_size=4),
    COUNTS,
    st.integers(-30, 30),
    st.sampled_from(["", "app", "email"]),
    st.sampled_from(["", "trip", "home"]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(PARTS, MORE), min_size=1, max_size=4), st.lists(USERS, min_size=2, max_size=4))
def test_one_user_is_told_what_he_is_told_among_others(parts, users):
    read = parse_yaml(text_of(parts).encode())
    rules, findings = parse_rules(read.content, WORDS, read.digest)
    assert not [str(one) for one in findings if one.severity == "fault"]

    def allowed(chosen):
        tier, orders, age, shown, since, today, hours, channel, scenario = zip(*chosen)
        now = NOON_US + np.array(hours) * HOUR_US
        columns = {"tier": tier, "orders": orders, "age": age, "attribute/city": [0.0] * len(chosen)}
        past = Past(
            dict.fromkeys(rules.needs.showings, np.array(shown)),
            dict.fromkeys(rules.needs.since, np.array(since)),
            np.array(today),
        )
        floats = {name: np.array(values, float) for name, values in columns.items()}
        facts = Facts(now, scenario, channel, floats, past)
        return eligible(CATALOG, [TIERS[one] for one in tier], now, scenario, rules, facts)

    together = allowed(users)
    for place, user in enumerate(users):
        alone = allowed([user])
        assert alone.refusals(0) == together.refusals(place)
        assert (alone.mask[0] == together.mask[place]).all()
        if rules.rules:
            assert (alone.ruled.verdict[0] == together.ruled.verdict[place]).all()
            assert (alone.list_rules.must_show[0] == together.list_rules.must_show[place]).all()
            assert alone.list_rules.at_most == together.list_rules.at_most
