"""Importances of columns whose effect on the value is known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from offers.types import Service
from training.attribution import Attribution
from training.evaluation.evaluate import evaluate
from training.evaluation.importances import MOST_PAIRS, MOST_ROWS, importances
from training.evaluation.report import render

COLUMNS = ("raises", "lowers", "turns", "kind", "idle")


def explain(X, services):
    """Column 0 adds 3 a unit, column 1 takes 1; column 2 does the one or the other by service; 3 by code."""
    sign = np.array([1.0 if service % 2 == 0 else -1.0 for service in services])
    x = np.nan_to_num(X.astype(float))[:, None]
    parts = [3 * x[..., 0], -x[..., 1], 0.5 * x[..., 2] * sign, 0.2 * (x[..., 3] == 1), 0 * x[..., 4]]
    contributions = np.stack([np.broadcast_to(part, (len(X), len(services))) for part in parts], axis=-1)
    return Attribution(np.zeros(contributions.shape[:2]), contributions)


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 5)).astype(np.float32)
    X[:, 3] = rng.integers(0, 3, 3000)
    X[::4, 0] = np.nan
    return X


def of(X, eligible=None, n_services=2):
    eligible = np.ones((len(X), n_services), bool) if eligible is None else eligible
    return importances(explain, X, eligible, COLUMNS, (3,), np.random.default_rng(1))


def test_columns_are_ranked_by_the_mean_size_of_what_they_add(X):
    found = of(X)
    mean = np.sqrt(2 / np.pi)  # of the size of a normal number
    assert [COLUMNS[column] for column in found.top()] == ["raises", "lowers", "turns", "kind"]
    assert found.overall == pytest.approx([3 * 0.75 * mean, mean, 0.5 * mean, 0.2 / 3, 0], abs=0.08)
    assert found.by_service.mean(axis=0) == pytest.approx(found.overall)
    assert found.top_of(1, 2) == [0, 1]


def test_each_column_has_its_direction(X):
    found = of(X)
    assert [found.way(column) for column in range(5)] == [
        "the more, the higher",
        "the more, the lower",
        "higher or lower",
        "by category",
        "by category",
    ]
    assert np.isnan(found.direction[4])


def test_only_rows_that_may_be_offered_a_service_count(X):
    eligible = np.column_stack([X[:, 1] > 1, np.zeros(len(X), bool)])
    found = of(X, eligible)
    assert found.by_service[0, 1] == pytest.approx(np.abs(X[X[:, 1] > 1, 1]).mean(), abs=0.02)
    assert not found.by_service[1].any()


def test_a_sample_stands_for_many_rows(X):
    assert of(X, n_services=1).n_pairs == MOST_ROWS
    assert of(X, n_services=50).n_pairs == MOST_PAIRS
    assert of(X[:10]).n_pairs == 20


def test_without_any_row_nothing_is_important(X):
    found = of(X[:0])
    assert (found.top(), found.n_pairs) == ([], 0)


def test_the_json_tells_the_strongest_columns_by_name(X):
    told = json.loads(json.dumps(of(X).to_json(["a", "b"]), allow_nan=False))
    assert [one["column"] for one in told["columns"]] == ["raises", "lowers", "turns", "kind"]
    assert told["columns"][1]["direction"] == pytest.approx(-1)
    assert told["columns"][3]["direction"] is None
    assert told["n_pairs"] == 4000
    assert [one["column"] for one in told["services"]["b"]][:2] == ["raises", "lowers"]


@pytest.fixture(scope="module")
def evaluation(make_log, notes):
    n = 600
    rng = np.random.default_rng(0)
    arm = rng.choice([-1, 0, 1, 2], n)
    services = [Service(one, one.upper()) for one in "abc"]
    log = make_log(arm, 0.25, 5 + rng.normal(size=n), services=services)
    names = ("perkwise", "best_constant", "nothing", "random", "popularity", "response")
    return evaluate(
        log,
        policies={name: np.tile(np.eye(4)[1], (n, 1)) for name in names},
        q=np.full((n, 4), 5.0),
        uplift=rng.normal(size=(n, 3)),
        uptake=np.full((n, 3), 0.2),
        eligible=np.ones((n, 3), bool),
        outcome="margin",
        unit="EUR",
        level=0.95,
        notes=notes,
        rng=rng,
        n_replicates=20,
    )


def test_the_report_shows_what_moves_the_value(evaluation, X):
    page = render(replace(evaluation, importances=of(X, n_services=3)))
    section = page.split('<section id="importances">')[1].split("</section>")[0]
    assert section.index("<code>raises</code>") < section.index("<code>lowers</code>")
    assert "idle" not in section
    assert "width: 100.0%" in section and "the more, the lower" in section
    assert "1.80" in section  # 3 a unit, three quarters of the users known


def test_a_report_without_importances_has_no_such_section(evaluation):
    assert "importances" not in render(evaluation)
    assert evaluation.to_json()["importances"] is None


def test_where_nothing_moves_the_value_the_report_says_so(evaluation, X):
    page = render(replace(evaluation, importances=of(X[:0], n_services=3)))
    assert "every customer gets each service's average" in page
