from dataclasses import replace
from pathlib import Path

import pytest

from offers.settings import DecisionSettings, Settings
from serving.config import ServeConfig


def test_the_environment_says_what_was_written_to_it(tmp_path: Path):
    settings = replace(Settings(), decision=DecisionSettings(max_services=2))
    config = ServeConfig(tmp_path / "data", tmp_path / "bundle", tmp_path / "state.db", settings)
    assert ServeConfig.from_environment(config.to_environment()) == config
    audited = replace(config, audit=tmp_path / "var" / "budget-audit.jsonl")
    assert ServeConfig.from_environment(audited.to_environment()) == audited


def test_missing_variables_are_named_all_at_once():
    with pytest.raises(ValueError, match=r"PERKWISE_DATA, PERKWISE_STATE is not set. .*perkwise serve"):
        ServeConfig.from_environment({"PERKWISE_BUNDLE": "b"})


def test_settings_that_are_no_json_are_refused():
    environment = dict.fromkeys(("PERKWISE_DATA", "PERKWISE_BUNDLE", "PERKWISE_STATE"), "x")
    with pytest.raises(ValueError, match="PERKWISE_SETTINGS must be JSON"):
        ServeConfig.from_environment({**environment, "PERKWISE_SETTINGS": "{"})
