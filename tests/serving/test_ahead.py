"""Tables are read while the service imports; whatever goes wrong is left to the start."""

import os
import signal
from dataclasses import replace

import pytest

from serving.ahead import begun_ahead
from serving.config import ServeConfig
from serving.prepared import Recipe, opened, prepared_beside
from training.bundle import read_basis


@pytest.fixture
def config(data, bundle, settings, tmp_path):
    return ServeConfig(data, bundle.path, tmp_path / "state.db", settings)


def found(config):
    layout, windows = read_basis(config.bundle)
    recipe = Recipe(config.data, layout, windows.uptake_days, config.settings.money)
    return opened(prepared_beside(config.state) / recipe.key, layout, 0)


def test_what_was_begun_ahead_is_what_the_service_opens(config):
    with begun_ahead(config) as ahead:
        assert ahead.wait() == 0
    assert len(found(config).user_ids) == 300


def test_of_a_champion_it_is_what_that_one_needs(config, tmp_path):
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "champion").symlink_to(config.bundle)
    with begun_ahead(replace(config, bundle=tmp_path, champion=tmp_path / "var")) as ahead:
        assert ahead.wait() == 0
    assert found(config) is not None


def test_what_is_wrong_is_left_to_the_start(config, tmp_path):
    with begun_ahead(replace(config, bundle=tmp_path)) as ahead:
        assert ahead.wait() == 1
    assert found(config) is None


def test_it_ends_with_what_it_was_begun_for(config, tmp_path):
    data = tmp_path / "waits"
    data.mkdir()
    os.mkfifo(data / "users.parquet")  # a table that takes for ever to read
    with begun_ahead(replace(config, data=data)) as ahead:
        pass
    assert ahead.wait() == -signal.SIGKILL
