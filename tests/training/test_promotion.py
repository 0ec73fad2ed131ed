"""The gate before real bundles: a challenger is served where rows kept from both say that it is better."""

import shutil
from dataclasses import replace

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
    (comparison,) = judge({"rival": gain}, rows.user, "EUR").comparisons
    return comparison.low, comparison.high


def test_without_a_champion_the_baselines_are_the_rivals(first_bundle, shop_source, shop_settings):
    rows, gains = held_out_gains(first_bundle, None, shop_source, shop_settings)
    assert list(gains) == ["best_constant", "response"]
    assert len(rows) == N_TEST
    assert rows.shown_at_us.min() >= first_bundle.manifest["training"]["split"]["test_from_us"]
    for one in gains.values():  # both offer a to everybody
        low, high = interval_of(one, rows)
        assert 0 < low < (gain("b", "right") - gain("a", "right")) / 2 < high


def test_the_ends_are_what_a_row_might_have_shown_had_it_earned_nothing_or_the_cap(
    first_bundle, shop_source, shop_settings
):
    rows, gains = held_out_gains(first_bundle, None, shop_source, shop_settings)
    one = gains["best_constant"]
    cap = first_bundle.manifest["training"]["margin_cap"]
    assert one.gain[one.ours].max() <= one.most and one.gain[one.theirs].min() >= one.least
    # a list of one has the propensity 0.3; the model expects between 0 and the cap of it
    assert 0.5 * cap / 0.3 < one.most < 1.5 * cap / 0.3
    assert 0.5 * cap / 0.3 < -one.least < 1.5 * cap / 0.3
    assert set(rows.service[one.ours]) == {1} and set(rows.service[one.theirs]) == {0}
    assert 0.45 < one.differs.mean() < 0.55  # on the right half


def test_a_champion_of_the_very_same_models_leaves_no_gain_on_any_row(
    first_bundle, shop_source, shop_settings
):
    _, gains = held_out_gains(first_bundle, first_bundle, shop_source, shop_settings)
    assert not gains["champion"].differs.any()


def test_a_champion_of_fewer_services_is_valued_by_what_it_would_show(
    first_bundle, second_bundle, wider, shop_settings
):
    rows, gains = held_out_gains(second_bundle, first_bundle, wider, shop_settings)
    low, high = interval_of(gains["champion"], rows)
    assert 0 < low < (gain("c", "left") - gain("a", "left")) / 2 < high


def test_a_champion_of_further_services_chooses_from_those_that_are_left(
    first_bundle, second_bundle, shop_source, shop_settings
):
    _, gains = held_out_gains(first_bundle, second_bundle, shop_source, shop_settings)
    assert np.isfinite(gains["champion"].gain).all()
    assert not gains["champion"].differs.any()  # without c both offer a and b to those whom they fit


def test_the_gate_may_be_asked_while_exposures_come_in(first_bundle, shop_source, shop_settings):
    rows, gains = held_out_gains(first_bundle, None, shop_source, shop_settings)
    assert (np.diff(rows.shown_at_us) >= 0).all()

    def after(n):
        so_far = {
            rival: replace(one, gain=one.gain[:n], ours=one.ours[:n], theirs=one.theirs[:n])
            for rival, one in gains.items()
        }
        return judge(so_far, rows.user[:n], "EUR")

    early = after(100)  # half of them are of the right half, and three in ten of those were shown one service
    assert early.reason.startswith(
        "keep: it differs from the best single offer on 50 of 100 held-out exposures"
    )
    assert 50 <= early.n_more <= 250
    assert after(N_TEST).promote


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
    assert not verdict.promote
    assert verdict.reason == "keep: it decides like the champion on all 1,620 held-out exposures."
    assert folder_bytes(home / "var" / "champion") == before
    assert registered_champion(home) is None


def test_a_promotion_that_ended_before_the_alias_is_finished_by_the_next(
    home, first_bundle, shop_source, shop_settings
):
    install_champion(first_bundle.path, home / "var")
    assert registered_champion(home) is None
    verdict = promote(first_bundle, shop_source, home, shop_settings)
    assert (verdict.promote, verdict.reason) == (False, "keep: it is the champion already.")
    assert registered_champion(home) == first_bundle.hash


def test_a_damaged_champion_keeps_the_gate_closed(trained, home, first_bundle, shop_source, shop_settings):
    champion = install_champion(trained.second.bundle, home / "var")
    (champion / "uptake" / "uptake.json").unlink()
    with pytest.raises(BundleError, match=r"\['uptake/uptake.json'\] missing.*Copy the bundle anew"):
        promote(first_bundle, shop_source, home, shop_settings)
    assert read_champion(home / "var") == champion and registered_champion(home) is None
