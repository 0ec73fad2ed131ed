"""What the catalogue tells of a service, and what a service that was hardly shown takes from it."""

import numpy as np
import pytest

from offers.catalog import Catalog
from offers.types import Service
from training.service_attributes import service_attributes
from training.uplift import UpliftModel
from training.uptake import UptakeModel


def catalog_of(categories, costs=None, scenarios=None):
    n = len(categories)
    rows = zip(categories, costs or [1.0] * n, scenarios or [""] * n, strict=True)
    return Catalog.of(
        Service(f"s{i:02d}", f"Service {i}", category=category, unit_cost=cost, scenario=scenario)
        for i, (category, cost, scenario) in enumerate(rows)
    )


def test_a_catalogue_that_tells_nothing_gives_no_column():
    assert service_attributes(catalog_of(["", "", ""])).shape == (3, 0)
    assert service_attributes(catalog_of(["car"], [3.0])).shape == (1, 0)


def test_only_what_at_least_two_services_share_is_a_column():
    found = service_attributes(catalog_of(["car", "home", "car", ""], scenarios=["night", "day", "", "day"]))
    assert found.tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]  # car, day


def test_a_dear_service_does_not_drown_the_categories():
    found = service_attributes(catalog_of(["car", "car", "home", "home"] * 5, [1.0] * 19 + [5000.0]))
    assert np.abs(found).max() == 2.0
    assert found[-1, 2] == 2.0 and np.abs(found[:-1, 2]).max() < 0.5


CATEGORIES = ["car"] * 4 + ["home"] * 4  # an offer of the first four adds 2, of the others nothing
COLD = 3  # a service for cars, hardly shown
TRUE = np.array([2.0] * 4 + [0.0] * 4)


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(0)
    n, share = 8_000, np.array([0.2, 0.12, 0.11, 0.12, 0.0005, 0.11, 0.11, 0.11, 0.1195])
    X, service = rng.normal(size=(n, 3)), rng.choice(np.arange(-1, 8), n, p=share / share.sum())
    uptake = (service >= 0) & (rng.random(n) < np.where(TRUE[service] > 0, 0.5, 0.1))
    y = X[:, 0] + np.where(service >= 0, TRUE[service], 0.0) + rng.normal(size=n)
    return X, service, np.tile(share / share.sum(), (n, 1)), y, uptake.astype(float)


def test_a_cold_service_takes_after_its_category_and_without_attributes_after_all(log):
    attributes = service_attributes(catalog_of(CATEGORIES))
    with_them, without = (
        UpliftModel(n_jobs=1, attributes=attributes).fit(*log),
        UpliftModel(n_jobs=1).fit(*log),
    )
    assert with_them.cold_.tolist() == without.cold_.tolist() == [j == COLD for j in range(8)]
    assert with_them.average_[COLD] == pytest.approx(2.0, abs=0.3)
    others = np.delete(TRUE, COLD).mean()
    assert abs(without.average_[COLD] - others) < abs(without.average_[COLD] - 2.0)
    known = np.arange(8) != COLD
    assert with_them.average_[known] == pytest.approx(without.average_[known], abs=0.1)
    assert with_them.average_se_[COLD] < without.average_se_[COLD]


def test_the_uptake_of_a_cold_service_takes_after_its_category(log):
    X, service, _, _, uptake = log
    few = np.flatnonzero(service == COLD)[5:]
    rows = np.setdiff1d(np.flatnonzero(service >= 0), few)
    attributes = service_attributes(catalog_of(CATEGORIES))
    with_them, without = (
        UptakeModel(n_jobs=1, attributes=given).fit(X[rows], service[rows], uptake[rows], 8).predict(X[:500])
        for given in (attributes, None)
    )
    assert np.abs(with_them[:, COLD] - 0.5).mean() < np.abs(without[:, COLD] - 0.5).mean() - 0.05
