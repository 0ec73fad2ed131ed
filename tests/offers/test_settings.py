import math
import tomllib
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
    ],
)
def test_each_fault_says_what_was_expected_and_found(layer, message):
    with pytest.raises(ValueError, match=message):
        parse_settings(layer)


def test_all_faults_come_at_once():
    with pytest.raises(ValueError, match=r"(?s)uptake_days.*max_services"):
        parse_settings({"windows": {"uptake_days": 0}, "decision": {"max_services": 99}})
