import numpy as np
import pytest

from offers.catalog import Catalog
from offers.settings import DecisionSettings
from offers.types import Estimates, Service
from training.evaluation.portfolio import DROP, FIX_DEMAND, FIX_SUPPLY, KEEP, portfolio
from training.evaluation.portfolio_page import names_that_fit, render_portfolio

# The gift earns most; the others earn less, cost more than they earn, or lack capacity.
CATALOG = Catalog.of(
    [
        Service("a", "Gift <1>"),
        Service("b", "Meal"),
        Service("c", "Loss", unit_cost=3.0),
        Service("d", "Car", capacity_per_day=1),
    ]
)


def found_for(core):
    uptake = np.full((200, 4), 0.2)
    uplift = np.tile([1.0, 0.6, 0.1, 0.8], (200, 1))
    return portfolio(
        Estimates(uptake, uptake, uplift),
        uptake > 0,
        CATALOG,
        DecisionSettings(choice_load=0.0),
        core=core,
        average_error=np.full(4, 0.1),
        nps={"a": 9.0},
        days=1,
        currency="EUR",
        level=0.95,
        rng=np.random.default_rng(0),
    )


def test_the_matrix_knows_what_is_wanted_and_what_can_be_supplied():
    one = {service.service_id: service for service in found_for(2).services}
    assert [one[name].verdict for name in "abcd"] == [KEEP, FIX_DEMAND, DROP, FIX_SUPPLY]
    assert one["a"].reach == 1.0 and one["c"].reach == 0.0 and one["a"].nps == 9.0
    assert one["d"].delivered < 0.1
    # three are shown: a = 0.25 each of 1 + 3 * 0.25; b of the gift is 1 / 0.8
    assert one["a"].uses == pytest.approx(0.25 / 1.75)
    assert one["a"].demand.value == pytest.approx(1.25 / 1.75)
    assert one["a"].supply.low == pytest.approx(1.0 - 1.96 * 0.1, abs=1e-3)


def test_the_core_loses_what_the_others_add():
    found = found_for(2)
    assert found.core == ("a", "d")
    assert found.worth.value == pytest.approx(1.25 * 2.4 / 1.75)
    assert found.regret.value == pytest.approx(1.25 * 2.4 / 1.75 - 1.25 * 1.8 / 1.5)


def test_the_page_says_what_supply_and_the_intervals_leave_out():
    page = render_portfolio(found_for(2))
    assert "NPS scores stand in the table and do not count in supply" in page
    assert "another core is not in them" in page


def test_names_in_the_picture_never_stand_on_each_other():
    """A hundred services in a corner: the core is named first, and what overlaps it is not."""
    rng = np.random.default_rng(0)
    at, demand = rng.uniform(0, 0.4, (100, 2)), rng.exponential(1, 100)
    is_core = np.arange(100) == 7
    named = names_that_fit(at, demand, is_core)
    assert named[0] == 7 and 3 < len(named) <= 13
    for number, one in enumerate(named):
        for other in named[:number]:
            assert (np.abs(at[one] - at[other]) >= [0.16, 0.03]).any()


def test_the_page_names_every_service_and_escapes_it():
    page = render_portfolio(found_for(1))
    assert "Gift &lt;1&gt;" in page and "Gift <1>" not in page and "KEEP" in page and "<svg" in page
