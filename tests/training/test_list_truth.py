"""Values of lists on logs of the simulated shop, whose response functions tell what each list is worth."""

import tomllib

import numpy as np
import pytest

from features.asof import DAY_US
from features.simulation.response import CHOICE_LOAD, respond
from features.world import make_world, write_world
from offers.policy import decide
from offers.settings import DecisionSettings, parse_settings
from offers.types import Estimates
from training.evaluation.list_value import value_of_change
from training.list_policies import ListCase, popular_lists
from training.loop.worth import list_worth
from training.source import read_source

SEEDS = range(3)
DECISION = DecisionSettings(max_services=3, choice_load=CHOICE_LOAD, similarity_load=0.0)


def truth_of(world, rows):
    """What is true of each row: of every service alone, and the margin where nothing is shown."""
    day = (rows.shown_at_us - world.starts_at.as_unit("us").value) / DAY_US
    n, n_services = len(rows), len(world.offering)
    every = [
        respond(world.customers, world.offering, rows.user, np.full(n, service), day)
        for service in range(n_services)
    ]
    uptake, uplift = (
        np.column_stack([getattr(one, name) for one in every]) for name in ("uptake", "uplift_margin")
    )
    return Estimates(uptake, uplift, uplift), every[0].margin_per_order * every[0].orders


@pytest.mark.slow
def test_gains_over_nothing_are_what_the_simulated_shop_knows_to_be_true(tmp_path):
    held = []
    for seed in SEEDS:
        world = make_world(2_500, 4, 150, np.random.default_rng(seed))
        folder = tmp_path / str(seed)
        write_world(world, folder)
        source = read_source(folder, parse_settings(tomllib.loads((folder / "perkwise.toml").read_text())))
        assert source.history.user_ids == tuple(world.users["user_id"])
        rows = source.dataset
        actual, baseline = truth_of(world, rows)
        rng, may = np.random.default_rng(seed), np.ones(actual.uptake.shape, bool)
        noisy = actual.uplift_margin + rng.normal(0, actual.uplift_margin.std(), may.shape)
        model = Estimates(actual.uptake, noisy, noisy)  # what decides errs; the figures must not
        case = ListCase.of(rows, model, np.full(len(rows), baseline.mean()), may, DECISION, "EUR")
        lists = {
            "nothing": np.full((len(rows), 1), -1),
            "single": decide(model, may, rows.catalog, DECISION, 1).services,
            "decided": decide(model, may, rows.catalog, DECISION).services,
            "popular": popular_lists(np.array([0.4, 0.3, 0.2, 0.1]), may, np.full(len(rows), 2)),
        }
        worth = {
            name: (baseline + list_worth(one, actual, rows.catalog, CHOICE_LOAD)).mean()
            for name, one in lists.items()
        }
        nothing = case.policy(lists["nothing"])
        for name, one in lists.items():
            policy = case.policy(one)
            assert policy.impossible.mean() == 0
            gain = value_of_change(case.log, nothing, policy, 0.95).exact
            if name != "nothing":
                held.append(gain.low <= worth[name] - worth["nothing"] <= gain.high)
    # Of n intervals at 95 % three standard deviations fewer than 95 % may miss.
    assert np.mean(held) >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / len(held)), held
