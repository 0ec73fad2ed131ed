"""Lists of several on made logs: what users choose, and what each service adds, is known."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from offers.choice import attraction, choice_effort
from training.averages import ListRows, average_uplift
from training.exposure_log import N_FOLDS
from training.lists import Expected, Lists, choice_load, rows_of, unfold
from training.uplift import UpliftModel

N_SERVICES, LOAD, NOISE = 6, 0.4, 2.0
AVERAGE = np.array([1.5, 0.3, -0.5, 0.8, 0.0, 1.0])


@dataclass(frozen=True)
class Shop:
    """Users whose response is known; lists of two to four are drawn without favour."""

    X: np.ndarray  # (n, 3)
    lists: Lists
    unasked: np.ndarray  # (n,) expected with nothing shown, of each list in its order
    uplift: np.ndarray  # (n, N_SERVICES)
    uptake: np.ndarray  # (n, N_SERVICES)

    @property
    def proportion(self):
        return self.lists.proportion(self.lists.of_places(self.uptake))

    def parts(self):
        """The lists divided by those who know the truth."""
        return unfold(self.lists, self.unasked, self.lists.of_places(self.uplift), self.proportion)

    def rows(self):
        deviation = self.lists.of_places(self.uplift - AVERAGE)
        return rows_of(
            self.lists, Expected(self.unasked, self.unasked, deviation, None, None), self.proportion
        )


def uptake_of(X):
    return 1 / (1 + np.exp(1.2 - 0.5 * X[:, [0]] - np.linspace(-0.8, 0.8, N_SERVICES)))


def uplift_of(X):
    """A service adds its average, more to those right of 0 of one of two columns."""
    return AVERAGE + np.where(np.arange(N_SERVICES) % 2, X[:, [0]], X[:, [1]])


def take(shown, services, uptake):
    """P(taken in the list) by the choice model, and alone; (n, longest)."""
    alone = np.take_along_axis(uptake, np.maximum(services, 0), axis=1)
    odds = np.where(shown, attraction(alone), 0.0)
    return odds / (choice_effort(shown.sum(axis=1), LOAD) + odds.sum(axis=1))[:, None], alone


def shop_of(n, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)).astype(np.float32)
    services = np.argsort(rng.random((n, N_SERVICES)), axis=1)[:, :4]
    services = np.where(np.arange(4) < rng.integers(2, 5, n)[:, None], services, -1)
    shown = services >= 0
    p_take, alone = take(shown, services, uptake_of(X))
    added = np.take_along_axis(uplift_of(X), np.maximum(services, 0), axis=1) * p_take / alone
    y = X[:, 2] + np.where(shown, added, 0.0).sum(axis=1) + NOISE * rng.normal(size=n)
    taken = np.cumsum(p_take, axis=1) > rng.random(n)[:, None]
    taken &= np.cumsum(taken, axis=1) == 1
    lists = Lists.of(X, services, np.full(n, 0.01), y, taken & shown)
    return Shop(lists.X, lists, lists.X[:, 2].astype(float), uplift_of(lists.X), uptake_of(lists.X))


@pytest.fixture(scope="module")
def shop():
    return shop_of(20_000)


def test_the_load_of_choice_is_read_from_what_was_taken(shop):
    alone = shop.lists.of_places(shop.uptake)
    assert choice_load(alone, shop.lists.shown, shop.lists.taken) == pytest.approx(LOAD, abs=0.05)


def test_a_service_works_in_a_list_in_proportion_to_how_much_it_is_taken_there(shop):
    p_take, alone = take(shop.lists.shown, shop.lists.services, shop.uptake)
    expected = np.where(shop.lists.shown, p_take / alone, 0.0)
    assert shop.proportion == pytest.approx(expected, abs=0.02)


def test_without_uptake_all_services_of_a_list_lose_alike_by_the_given_load(shop):
    proportion = replace(shop.lists, choice_load=0.5).proportion(None)
    length = shop.lists.shown.sum(axis=1)
    assert np.array_equal(proportion[:, 0], 1 / (1 + 0.5 * (length - 1)))
    assert not proportion[~shop.lists.shown].any()


def test_each_services_part_of_a_list_is_its_uplift_alone_within_chance(shop):
    parts = shop.parts()
    error = parts.uplift - shop.uplift[parts.list_row, parts.service]
    for service in range(N_SERVICES):
        of_one = error[parts.service == service]
        assert abs(of_one.mean()) < 3 * of_one.std() / len(of_one) ** 0.5


def test_the_noise_of_a_part_grows_as_its_precision_says(shop):
    parts = shop.parts()
    error = parts.uplift - shop.uplift[parts.list_row, parts.service]
    least, most = np.quantile(parts.precision, [0.2, 0.8])
    for rows in (parts.precision < least, parts.precision > most):
        noise = np.average(error[rows] ** 2 * parts.precision[rows]) ** 0.5
        assert noise == pytest.approx(NOISE, rel=0.03)


def test_all_services_of_a_list_stand_in_one_fold_and_every_fold_has_its_share(shop):
    parts = shop.parts()
    assert np.array_equal(parts.fold, shop.lists.fold[parts.list_row])
    assert np.array_equal(np.bincount(parts.list_row), shop.lists.shown.sum(axis=1))
    assert np.ptp(np.bincount(shop.lists.fold, minlength=N_FOLDS)) <= 1


def test_the_order_of_the_lists_does_not_matter(shop):
    order = np.random.default_rng(1).permutation(len(shop.lists))
    lists = shop.lists
    again = Lists.of(
        lists.X[order], lists.services[order], lists.propensity[order], lists.y[order], lists.taken[order]
    )
    for name in ("X", "services", "propensity", "y", "taken"):
        assert np.array_equal(getattr(again, name), getattr(lists, name))


X, SERVICES, TAKEN = np.zeros((2, 1), np.float32), np.array([[0, 1], [1, 0]]), np.zeros((2, 2))
HALF = np.full(2, 0.5)


@pytest.mark.parametrize(
    "faulty, message",
    [
        ((X, SERVICES[0], HALF, HALF, TAKEN), r"services must have the shape \(2, longest\), got \(2,\)"),
        ((X, [[0, 1], [1, -1]], HALF, HALF, TAKEN), "at least two services in every list; one alone is no"),
        ((X, [[0, 1], [1, 1]], HALF, HALF, TAKEN), "services must hold no service twice in a list"),
        ((X, SERVICES, TAKEN, HALF, TAKEN), r"propensity must have the shape \(2,\), one a list, got \(2, 2"),
        ((X, SERVICES, [0.5, 0.0], HALF, TAKEN), "propensity of a list must be above 0 and at most 1"),
        ((X, SERVICES, [0.5, np.nan], HALF, TAKEN), "propensity of a list must be above 0 and at most 1"),
        ((X, SERVICES, HALF, HALF, HALF), r"taken must have the shape of services \(2, 2\), got \(2,\)"),
        ((X, SERVICES, HALF, [1.0, np.nan], TAKEN), "y must be finite"),
    ],
)
def test_lists_that_cannot_be_are_refused(faulty, message):
    with pytest.raises(ValueError, match=message):
        Lists.of(*faulty)


SINGLES = np.repeat([-1, 0, 1, 2], 200)  # services 3, 4 and 5 are never shown alone


def singles(service=SINGLES):
    """Residuals of offers alone, as good as without noise, and their propensities."""
    residual = np.where(service >= 0, AVERAGE[service], 0.0) + 1e-3 * np.cos(np.arange(len(service)))
    return residual, service, np.full((len(service), N_SERVICES + 1), 1 / (N_SERVICES + 1))


def test_averages_of_services_that_stood_in_lists_alone_are_solved_for(shop):
    rows = shop.rows()
    found = average_uplift(*singles(), lists=rows)
    assert found.uplift == pytest.approx(AVERAGE, abs=4 * found.se.max())
    assert found.se.max() < 0.1


def test_lists_set_right_what_few_offers_alone_got_wrong_of_all_services(shop):
    # ten offers of each service, every one 3 too high: shared by all, so that companions hide it
    residual, service, propensity = singles(np.concatenate([np.full(500, -1), np.repeat(np.arange(6), 10)]))
    residual = residual + np.where(service >= 0, 3.0 + 6 * np.sin(np.arange(len(service))), 0.0)
    before = average_uplift(residual, service, propensity).uplift
    rows = shop.rows()
    after = average_uplift(residual, service, propensity, lists=rows).uplift
    assert (before - AVERAGE).mean() > 2
    assert after == pytest.approx(AVERAGE, abs=0.3)


def test_two_services_that_only_ever_stood_together_are_taken_to_be_alike():
    together = np.tile([3, 4], (400, 1))
    y = 2.0 + 0.01 * np.sin(np.arange(400))
    rows = ListRows(y, together, np.full((400, 2), 0.5), np.full(400, 0.1))
    found = average_uplift(*singles(), lists=rows)
    assert found.uplift[3] == pytest.approx(found.uplift[4], abs=1e-6)
    assert np.isfinite(found.uplift).all() and found.se[3] > found.se[0]


def test_a_model_that_is_taught_lists_does_not_mind_their_order_and_counts_them():
    few = shop_of(600, seed=1).lists
    order = np.random.default_rng(2).permutation(len(few))
    shuffled = Lists.of(
        few.X[order], few.services[order], few.propensity[order], few.y[order], few.taken[order]
    )
    log = alone(400, seed=3)
    one, other = (UpliftModel(n_jobs=1).fit(*log, lists) for lists in (few, shuffled))
    assert np.array_equal(one.predict(few.X), other.predict(few.X))
    assert not one.cold_.any() and UpliftModel(n_jobs=1).fit(*log).cold_.all()


def alone(n, seed):
    """Offers of one service or nothing to users of the same shop: X, service, propensity, y, uptake."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)).astype(np.float32)
    service = rng.integers(-1, N_SERVICES, n)
    row, shown = np.arange(n), service >= 0
    y = X[:, 2] + np.where(shown, uplift_of(X)[row, service], 0.0) + NOISE * rng.normal(size=n)
    uptake = shown & (rng.random(n) < uptake_of(X)[row, service])
    propensity = np.full((n, N_SERVICES + 1), 1 / (N_SERVICES + 1))
    return X, service, propensity, y, uptake.astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_where_offers_alone_are_few_lists_make_the_error_smaller(seed):
    log, lists = alone(2_500, seed), shop_of(12_000, seed + 100).lists
    X = np.random.default_rng(seed + 200).normal(size=(4_000, 3)).astype(np.float32)
    without, with_lists = (
        np.sqrt(((UpliftModel(n_jobs=1).fit(*log, given).predict(X) - uplift_of(X)) ** 2).mean())
        for given in (None, lists)
    )
    assert with_lists < 0.8 * without
