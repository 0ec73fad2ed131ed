"""The benchmark of the gate counts what became of each world, and says it as tables and as JSON."""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.gate import NO_GAIN, World, errors, power
from benchmarks.gate_shop import N_DAYS, Shop, simulate
from tests.project import ROOT

WORLDS = [
    World(None, low_failed=False, high_failed=False, once_promoted=True),
    World(300, low_failed=True, high_failed=False, once_promoted=True),
    World(900, low_failed=True, high_failed=True, once_promoted=False),
    World(None, low_failed=False, high_failed=False, once_promoted=False),
]


def test_shares_are_of_the_worlds():
    found = errors("some", WORLDS)
    assert (found.promoted, found.low_failed, found.high_failed) == (0.5, 0.5, 0.25)
    assert (found.covered, found.once_promoted) == (0.5, 0.5)


def test_the_wait_is_known_where_half_were_promoted():
    shop = Shop(gain=0.3)
    assert power(shop, WORLDS).median_exposures is None
    assert power(shop, WORLDS[1:]).median_exposures == 900
    assert power(shop, WORLDS).promoted == 0.5


def test_a_log_grows_by_the_same_number_each_day_and_customers_come_back():
    log = simulate(Shop(n_a_day=40), np.random.default_rng(0))
    sizes = [len(log.until(day)[1]) for day in range(N_DAYS)]
    assert sizes == [40 * (day + 1) for day in range(N_DAYS)]
    assert np.unique(log.until(3)[1]).tolist() == list(range(log.until(3)[1].max() + 1))
    assert np.bincount(log.user).max() > 5


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [True, False])
def test_it_runs_as_a_program(as_json):
    command = [sys.executable, "-m", "benchmarks.gate", "--worlds", "1", "--powered", "1"]
    done = subprocess.run(
        [*command, *["--json"] * as_json], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "of 22 worlds: a gain of 60%, 3,000 exposures a day" in done.stderr
    if as_json:
        answer = json.loads(done.stdout)
        assert [one["kind"] for one in answer["errors"]] == list(NO_GAIN)
        assert len(answer["power"]) == 15
    else:
        assert "| 12 services | 1 | 0.0% | " in done.stdout and "| 60% | " in done.stdout
