"""The gate before real bundles: a challenger is served where rows kept from both say that it is better."""

import shutil

import numpy as np
import pytest

from tests.checkerboard import N_TEST, gain
from tests.project import folder_bytes, registered_champion, settings_of
from training.bundle import read_bundle
from training.bundle_files import BundleError
from training.champion import install_champion, read_champion
from training.gate import judge
from training.promotion import held_out_gains, promote
from training.source import read_source
from training.tracking import find_run


@pytest.fixture(scope="module")
def second_bundle(trained):
    return read_bundle(trained.second.bundle)


@pytest.fixture(scope="module")
def wider(trained, second_bundle):
    data = trained.home / "var" / "wider"
    return read_source(data, settings_of(trained.home, data), second_bundle.layout)


def interval_of(gain, rows):
    (comparison,) = judge({"rival": gain}, rows.user).comparisons
    return comparison.low, comparison.high


def test_without_a_champion_the_best_constant_is_the_rival(first_bundle, shop_source, shop_settings):
    rows, gains = held_out_gains(first_bundle, None, shop_source, shop_settings)
    assert set(gains) == {"best_constant"}
    assert len(rows) == N_TEST
    assert rows.shown_at_us.min() >= first_bundle.manifest["training"]["split"]["test_from_us"]
    low, high = interval_of(gains["best_constant"], rows)
    assert 0 < low < (gain("b", "right") - gain("a", "right")) / 2 < high


def test_a_champion_of_the_very_same_models_leaves_no_gain_on_any_row(
    first_bundle, shop_source, shop_settings
):
    _, gains = held_out_gains(first_bundle, first_bundle, shop_source, shop_settings)
    assert not gains["champion"].any()


def test_a_champion_of_fewer_services_is_valued_by_what_it_would_show(
    first_bundle, second_bundle, wider, shop_settings
):
    rows, gains = held_out_gains(second_bundle, first_bundle, wider, shop_settings)
    low, high = interval_of(gains["champion"], rows)
    assert 0 < low < (gain("c", "left") - gain("a", "left")) / 2 < high


def test_a_champion_of_further_services_chooses_from_those_that_are_left(
    first_bundle, second_bundle, shop_source, shop_settings
):
    rows, gains = held_out_gains(first_bundle, second_bundle, shop_source, shop_settings)
    assert np.isfinite(gains["champion"]).all()
    low, high = interval_of(gains["champion"], rows)
    assert low <= 0 <= high  # without c both offer a and b to those whom they fit


def test_what_the_gate_accepts_is_served_and_registered(home, shop_source, shop_settings):
    challenger = read_bundle(find_run(home, "first").bundle)
    shutil.rmtree(home / "var" / "bundles")  # the copy kept with the run is enough
    assert registered_champion(home) is None
    assert promote(challenger, shop_source, home, shop_settings).promote
    assert read_champion(home / "var").name == registered_champion(home) == challenger.hash
    assert folder_bytes(home / "var" / "champion") == folder_bytes(challenger.path)


def test_what_the_gate_refuses_changes_nothing(trained, home, first_bundle, shop_source, shop_settings):
    install_champion(trained.second.bundle, home / "var")
    before = folder_bytes(home / "var" / "champion")
    verdict = promote(first_bundle, shop_source, home, shop_settings)
    assert not verdict.promote and verdict.reason.startswith("keep: it gains ")
    assert folder_bytes(home / "var" / "champion") == before
    assert registered_champion(home) is None


def test_a_damaged_champion_keeps_the_gate_closed(trained, home, first_bundle, shop_source, shop_settings):
    champion = install_champion(trained.second.bundle, home / "var")
    (champion / "uptake" / "uptake.json").unlink()
    with pytest.raises(BundleError, match=r"\['uptake/uptake.json'\] missing.*Copy the bundle anew"):
        promote(first_bundle, shop_source, home, shop_settings)
    assert read_champion(home / "var") == champion and registered_champion(home) is None
