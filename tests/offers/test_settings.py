import json
import math
import re
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from offers.settings import Settings, parse_settings


def test_no_layer_gives_the_defaults():
    assert parse_settings() == Settings()


def test_the_file_of_the_project_states_the_defaults():
    text = Path(__file__).resolve().parents[2].joinpath("perkwise.toml").read_text(encoding="utf-8")
    assert parse_settings(tomllib.loads(text)) == Settings()


def test_a_later_layer_overrides_key_by_key():
    settings = parse_settings(
        {"windows": {"uptake_days": 7, "repurchase_days": 20}}, {"windows": {"uptake_days": 3}}
    )
    assert (settings.windows.uptake_days, settings.windows.repurchase_days) == (3, 20)


def test_whole_numbers_become_floats_where_a_float_is_meant():
    money_price = parse_settings({"decision": {"money_price": 1}}).decision.money_price
    assert money_price == 1.0 and isinstance(money_price, float)


@pytest.mark.parametrize(
    "layer, message",
    [
        ({"windos": {}}, r"unknown section \[windos\], did you mean 'windows'"),
        ({"zzz": {}}, r"unknown section \[zzz\]; known are money, windows"),
        ({"money": 3}, r"\[money\] must be a section, got 3"),
        ({"money": {"margin": 0.3}}, r"unknown setting money.margin, did you mean 'margin_rate'"),
        ({"money": {"margin_rate": "0.3"}}, "money.margin_rate must be a number, got '0.3'"),
        ({"money": {"margin_rate": True}}, "money.margin_rate must be a number, got True"),
        ({"money": {"margin_rate": 1.5}}, "money.margin_rate must be between 0 and 1, got 1.5"),
        ({"money": {"margin_rate": math.nan}}, "money.margin_rate must be between 0 and 1, got nan"),
        ({"money": {"currency": ""}}, "money.currency must be a text, got ''"),
        ({"windows": {"uptake_days": 1.5}}, "windows.uptake_days must be a whole number, got 1.5"),
        ({"windows": {"uptake_days": math.inf}}, "windows.uptake_days must be a whole number, got inf"),
        (
            {"tiers": {"names": ["gold", "gold"]}},
            "tiers.names must be a list of at least two different names",
        ),
        (
            {"holdouts": {"name": "a"}},
            r"holdouts must be a list of tables, \[\[holdouts\]\], got {'name': 'a'}",
        ),
        ({"holdouts": [{}]}, r"\[\[holdouts\]\] number 1 must have a name, got None"),
        ({"tracks": [{"name": "a"}, {"name": "a"}]}, r"\[\[tracks\]\] must have different names, got 'a'"),
        ({"holdouts": [{"name": "a", "shar": 1}]}, "unknown setting holdouts.a.shar, did you mean 'share'"),
        ({"holdouts": [{"name": "a", "share": 2}]}, "holdouts.a.share must be between 0 and 1, got 2"),
        ({"holdouts": [{"name": "a", "active_from": "soon"}]}, "a.active_from must be a time with its zone"),
        (
            {
                "holdouts": [
                    {"name": "a", "active_from": "2026-02-01T00:00Z", "active_until": "2026-01-01T00:00Z"}
                ]
            },
            "holdouts.a.active_until must be later than active_from '2026-02-01T00:00Z'",
        ),
        (
            {"holdouts": [{"name": "a", "track": "hig"}], "tracks": [{"name": "high"}]},
            "holdouts.a.track is unknown: 'hig', did you mean 'high'",
        ),
        (
            {"budgets": [{"name": "a", "money": 1, "track": "t", "service": "s"}], "tracks": [{"name": "t"}]},
            "budgets.a must name a service or a track, got both",
        ),
        ({"budgets": [{"name": "a"}]}, "budgets.a must have money or contacts, got neither"),
        ({"budgets": [{"name": "a", "money": -1}]}, "budgets.a.money must be between 0 and inf, got -1"),
        (
            {"budgets": [{"name": "a", "money": math.nan}]},
            "budgets.a.money must be between 0 and inf, got nan",
        ),
        (
            {"budgets": [{"name": "a", "money": 1, "period": "year"}]},
            "budgets.a.period must be one of month, week, day, got 'year'",
        ),
        (
            {"pacing": {"reopen_at": 0.1}},
            "pacing.reopen_at must be at most pacing.most_of_revenue, got 0.1 and",
        ),
        (
            {"tracks": [{"name": "a", "tiers": ["glod"]}]},
            "tracks.a.tiers has an unknown tier 'glod', did you mean 'gold'",
        ),
        (
            {"tracks": [{"name": "a", "services": ["s"]}, {"name": "b", "services": ["s"]}]},
            "tracks.b must not have the service 's': a has it",
        ),
        ({"tracks": [{"name": "a", "tiers": "gold"}]}, "tracks.a.tiers must be a list of different names"),
    ],
)
def test_each_fault_says_what_was_expected_and_found(layer, message):
    with pytest.raises(ValueError, match=message):
        parse_settings(layer)


def test_all_faults_come_at_once():
    with pytest.raises(ValueError, match=r"(?s)uptake_days.*max_services"):
        parse_settings({"windows": {"uptake_days": 0}, "decision": {"max_services": 99}})


def test_tables_of_a_list_are_overridden_by_name_and_key_by_key():
    settings = parse_settings(
        {"holdouts": [{"name": "a", "share": 0.1, "service": "s"}, {"name": "b"}]},
        {"holdouts": [{"name": "a", "share": 0.2}]},
    )
    assert [(one.name, one.share, one.service) for one in settings.holdouts] == [
        ("a", 0.2, "s"),
        ("b", 0.05, ""),
    ]


def test_a_time_may_be_one_of_toml():
    layer = tomllib.loads('[[holdouts]]\nname = "a"\nactive_from = 2026-01-01T00:00:00Z')
    assert parse_settings(layer).holdouts[0].active_from == "2026-01-01T00:00:00+00:00"


def test_what_the_file_of_the_project_shows_as_an_example_can_be_used():
    text = Path(__file__).resolve().parents[2].joinpath("perkwise.toml").read_text(encoding="utf-8")
    example = re.sub(r"^# (?=\[\[|\w+ = )", "", text, flags=re.M)
    settings = parse_settings(tomllib.loads(example))
    assert (len(settings.holdouts), len(settings.tracks), len(settings.budgets)) == (1, 1, 1)


def test_settings_survive_json():
    settings = parse_settings({"budgets": [{"name": "all", "money": 10}], "tracks": [{"name": "a"}]})
    assert parse_settings(json.loads(json.dumps(asdict(settings)))) == settings
