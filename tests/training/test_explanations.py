"""Predictions taken apart: the parts add up, and fall to the columns that are known to matter."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.attribution import Attribution, check_services
from training.lockstep import LearnerSettings
from training.uplift import UpliftModel
from training.uptake import UptakeModel

QUICK = LearnerSettings(min_rows=100, max_rounds=60)
EXACT = 1e-9  # of the predictions' size


@dataclass(frozen=True)
class Shop:
    """Logged exposures of users, each shown nothing or one service with the same probability.

    Column 0 alone decides who uses services and what they add, column 1 what is bought with nothing shown;
    column 2 has gaps, column 3 is a category, columns 4 and 5 are noise.
    """

    n_services: int
    with_uptake: bool = True
    binary: bool = False
    n: int = 6000
    seed: int = 0
    unasked: float = 0.0  # chance of a use by those with column 1 above 0 to whom nothing was shown
    attributes: np.ndarray | None = None
    X: np.ndarray = field(init=False)

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        X = rng.normal(size=(self.n, 6)).astype(np.float32)
        X[::7, 2] = np.nan
        X[:, 3] = rng.integers(0, 4, self.n)
        object.__setattr__(self, "X", X)

    def fit(self, **options) -> tuple[UpliftModel, UptakeModel]:
        rng = np.random.default_rng(self.seed + 1)
        service = rng.integers(-1, self.n_services, self.n)
        side = np.where(service % 2 == 0, 1, -1) * self.X[:, 0]
        used = (service >= 0) & (rng.random(self.n) < 1 / (1 + np.exp(1 - 2 * side)))
        if self.unasked:
            used |= (service < 0) & (self.X[:, 1] > 0) & (rng.random(self.n) < self.unasked)
        level = 0.3 + 0.4 * used + 0.1 * np.sign(self.X[:, 1])
        y = rng.random(self.n) < level if self.binary else 10 * level + rng.normal(size=self.n)
        options = {"n_jobs": 1, "settings": QUICK, "categorical": (3,), **options}
        propensity = np.full((self.n, self.n_services + 1), 1 / (self.n_services + 1))
        uptake = used.astype(float)
        uplift = UpliftModel(**options).fit(
            self.X, service, propensity, y.astype(float), uptake if self.with_uptake else None
        )
        return uplift, UptakeModel(**options).fit(self.X, service, uptake, self.n_services)


SHOPS = {
    "few services": Shop(2),
    "few services, orders": Shop(3, binary=True),
    "few services without uptake": Shop(2, with_uptake=False),
    "many services": Shop(7, n=8_000),
    "many services, orders": Shop(7, binary=True, n=8_000),
    "many services without uptake": Shop(6, with_uptake=False, n=8_000),
    "one service": Shop(1, n=3000),
    "used unasked": Shop(6, n=8_000, unasked=0.2),
    "services alike": Shop(8, n=8_000, attributes=np.array([[j % 2, j / 8] for j in range(8)])),
}


@pytest.fixture(scope="module", params=SHOPS)
def shop(request):
    one = SHOPS[request.param]
    return one, *one.fit(attributes=one.attributes)


@pytest.fixture(scope="module")
def many():
    one = SHOPS["many services"]
    return one, *one.fit()


def assert_adds_up(model, X) -> Attribution:
    found, predicted = model.explain(X), model.predict(X)
    assert np.abs(found.total - predicted).max() <= EXACT * np.abs(predicted).max()
    return found


def test_uplifts_are_what_their_parts_add_up_to(shop):
    one, uplift, _ = shop
    found = assert_adds_up(uplift, one.X[:200])
    assert found.base.shape == (200, one.n_services) and found.contributions.shape == (200, one.n_services, 6)
    assert np.isfinite(found.contributions).all()


def test_uptakes_are_what_their_parts_add_up_to_and_start_at_one_base(shop):
    one, _, uptake = shop
    found = assert_adds_up(uptake, one.X[:200])
    assert np.ptp(found.base, axis=0) == pytest.approx(0, abs=1e-12)
    assert ((found.base > 0) & (found.base < 1)).all()


def shares(model, X) -> np.ndarray:
    """Each column's share of the mean |contribution|."""
    size = np.abs(model.explain(X).contributions).mean(axis=(0, 1))
    return size / size.sum()


def test_the_columns_that_decide_get_most(shop):
    one, *models = shop
    for model in models:
        share = shares(model, one.X[:200])
        assert share[0] > 0.55 and share[:2].sum() > 0.75  # by column 1 a baseline is high, or a use unasked


@pytest.mark.parametrize("n_services", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_a_column_that_decides_alone_gets_more_than_nine_tenths(n_services):
    # Users right of 0 use even services and odd ones hardly ever; those left of it the other way round.
    rng = np.random.default_rng(0)
    n = 12_000
    X, service = rng.normal(size=(n, 4)), rng.integers(-1, n_services, n)
    fits = (service >= 0) & ((service % 2 == 0) == (X[:, 0] > 0))
    used = fits & (rng.random(n) < 0.98)
    propensity = np.full((n, n_services + 1), 1 / (n_services + 1))
    y = 5 * used + 0.2 * rng.normal(size=n)
    uplift = UpliftModel(n_jobs=1).fit(X, service, propensity, y, used.astype(float))
    uptake = UptakeModel(n_jobs=1).fit(X, service, used.astype(float))
    assert shares(uplift, X[:500])[0] > 0.9
    assert shares(uptake, X[:500])[0] > 0.85


@pytest.mark.parametrize("n_services", [2, 5])
def test_columns_that_add_twice_and_once_get_two_thirds_and_one(n_services):
    rng = np.random.default_rng(0)
    n = 15_000
    X, service = rng.normal(size=(n, 4)), rng.integers(-1, n_services, n)
    effect = 2 * X[:, 0] - X[:, 1]
    y = X[:, 2] + (service >= 0) * effect + 0.5 * rng.normal(size=n)
    propensity = np.full((n, n_services + 1), 1 / (n_services + 1))
    model = UpliftModel(n_jobs=1).fit(X, service, propensity, y)
    added = model.explain(X[:500]).contributions
    assert shares(model, X[:500])[:2] == pytest.approx([0.6, 0.3], abs=0.08)
    for service in range(n_services):
        assert np.corrcoef(added[:, service, 0], X[:500, 0])[0, 1] > 0.9
        assert np.corrcoef(added[:, service, 1], X[:500, 1])[0, 1] < -0.9


def test_what_a_column_adds_has_the_sign_of_what_it_does(many):
    # Even services are used by users right of 0 and odd ones by those left of it.
    one, uplift, uptake = many
    right = one.X[:200, 0] > 0.5
    for model in (uplift, uptake):
        added = model.explain(one.X[:200]).contributions[:, :, 0]
        assert (added[right][:, ::2] > 0).mean() > 0.95 and (added[right][:, 1::2] < 0).mean() > 0.95


def test_a_column_that_nothing_asks_for_adds_nothing():
    one = SHOPS["few services"]
    object.__setattr__(constant := replace(one), "X", one.X.copy())
    constant.X[:, 5] = 1.0  # no tree can split on it
    for model in constant.fit():
        assert (model.explain(constant.X[:100]).contributions[:, :, 5] == 0).all()


def test_the_base_of_an_uplift_hardly_depends_on_the_user(many):
    one, uplift, _ = many
    found = uplift.explain(one.X[:200])
    assert found.base.std(axis=0).max() < 0.05 * found.total.std(axis=0).min()


def test_some_services_are_explained_as_among_all(many):
    one, uplift, uptake = many
    for model in (uplift, uptake):
        every, some = model.explain(one.X[:30]), model.explain(one.X[:30], [5, 0])
        assert np.array_equal(some.base, every.base[:, [5, 0]])
        assert np.array_equal(some.contributions, every.contributions[:, [5, 0]])


@settings(max_examples=25, deadline=None)
@given(
    numbers=st.lists(st.floats(-1e6, 1e6, width=32) | st.just(float("nan")), min_size=6, max_size=6),
    code=st.integers(-1, 9),
)
def test_anybody_can_be_explained(many, numbers, code):
    user = np.array([numbers], dtype=np.float32)
    user[0, 3] = code
    for model in many[1:]:
        found = assert_adds_up(model, user)
        assert np.isfinite(found.contributions).all()


def test_a_loaded_model_explains_bit_for_bit(many, tmp_path):
    one, *models = many
    for model in models:
        model.save(tmp_path / type(model).__name__)
        loaded = type(model).load(tmp_path / type(model).__name__, n_jobs=1)
        for before, after in zip(model.explain(one.X[:50]), loaded.explain(one.X[:50]), strict=True):
            assert np.array_equal(before, after)


def test_nobody_and_no_service_give_empty_arrays(many):
    _, uplift, uptake = many
    for model in (uplift, uptake):
        assert model.explain(np.empty((0, 6))).contributions.shape == (0, 7, 6)
        assert model.explain(np.zeros((2, 6)), []).contributions.shape == (2, 0, 6)


@pytest.mark.parametrize("services", [[7], [-1], [[0]]])
def test_services_that_are_not_there_are_refused(services):
    with pytest.raises(ValueError, match=r"services must be positions from 0 to 6, got \["):
        check_services(services, 7)


@settings(max_examples=100, deadline=None)
@given(
    columns=st.lists(st.floats(-5, 5), min_size=1, max_size=5),
    base=st.floats(-5, 5),
    amount=st.floats(-10, 10),
)
def test_what_is_passed_on_and_what_is_left_add_up(columns, base, amount):
    found = Attribution(np.array([base]), np.array([columns]))
    assert found.through(np.tanh).total[0] == pytest.approx(np.tanh(found.total[0]), abs=1e-12)
    shared = found.share(np.array([amount]))
    assert shared.total[0] == pytest.approx(amount, abs=1e-9)
    assert np.abs(shared.contributions).sum() <= 10.001 * abs(amount)  # never a huge share of either sign


def test_a_link_keeps_the_sign_and_the_proportion_of_what_columns_add():
    passed = Attribution(np.array([0.0]), np.array([[3.0, -1.0, 0.0]])).through(
        lambda x: 1 / (1 + np.exp(-x))
    )
    assert passed.base.tolist() == [0.5]
    assert passed.contributions[0, 0] == pytest.approx(-3 * passed.contributions[0, 1])
    assert passed.contributions[0, 2] == 0
