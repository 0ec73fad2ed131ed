"""Published figures of the Open Bandit Pipeline on its sample of 10,000 impressions, by our functions.

Published (README and quickstart of obp 0.3 and 0.4) and recomputed to every digit: the click rates of both
logs, the probabilities of Bernoulli Thompson sampling, its value by IPS, also over the random policy's.

Recomputed to within half a percent: 0.003399 by the direct method and 0.004647 doubly robust. Their model is
stopped after 100 iterations, before it has converged; where it then stands depends on the version of its
solver and on the processor, so that ours goes on until it has. The published 95 % interval of IPS comes from
other draws and is met to a tenth of its ends.

Not recomputed: the figures of logistic bandits and of the full data set, whose policies and rows are not
published with the sample, and relative errors over bootstrap samples, which depend on their draws.
"""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.preprocessing import OrdinalEncoder

from training.evaluation.bootstrap import UserBootstrap
from training.evaluation.policy_value import (
    candidate_columns,
    doubly_robust,
    effective_sample_size,
    ips,
    least_error,
    match_weights,
    shrink,
    snips,
    strengths,
    switch,
    thresholds,
)
from training.evaluation.slate_value import independent_ips, position_weights

N_POSITIONS = 3
SEED = 12345  # of the published run, for the simulated policy and for the folds of the regression

# Prior of each item's click rate, Beta(CLICKED, SKIPPED), published with the pipeline for the campaign "all".
CLICKED = np.ravel(
    [
        [47, 8, 62, 142, 3, 14, 7, 857, 12, 15],
        [6, 100, 48, 23, 71, 61, 13, 16, 518, 30],
        [7, 4, 23, 8, 10, 11, 11, 18, 121, 11],
        [11, 10, 14, 9, 204, 58, 3, 19, 42, 1013],
        [2, 328, 15, 31, 14, 138, 45, 55, 23, 38],
        [10, 401, 52, 6, 3, 6, 5, 32, 35, 133],
        [52, 820, 43, 195, 8, 42, 40, 4, 32, 30],
        [9, 22, 6, 23, 5, 54, 8, 22, 65, 246],
    ]
)
SKIPPED = np.ravel(
    [
        [12198, 3566, 15993, 35522, 2367, 4609, 3171, 181745, 4372, 4951],
        [3100, 24665, 13210, 7061, 18061, 17449, 5644, 6787, 111326, 8776],
        [3334, 2271, 7389, 2659, 3665, 4724, 3561, 5085, 27407, 4601],
        [4756, 4120, 4736, 3788, 45292, 14719, 2189, 5589, 11995, 222255],
        [2308, 70034, 4801, 8274, 5421, 31912, 12213, 13576, 6230, 10382],
        [4141, 85731, 12811, 2707, 2250, 2668, 2886, 9581, 9465, 28336],
        [12062, 162793, 12107, 41240, 3162, 11604, 10818, 2923, 8897, 8654],
        [4000, 6580, 3174, 6766, 2602, 14506, 3968, 7523, 16532, 51964],
    ]
)


@pytest.fixture(scope="module")
def logs(public_data):
    folder = public_data / "open_bandit"
    if not folder.is_dir():
        pytest.skip(f"Open Bandit's sample is not at {folder}")
    return {path.stem: pd.read_parquet(path) for path in folder.glob("*.parquet")}


@pytest.fixture(scope="module")
def thompson():
    """Probability of each item at each position, shape (80, 3), from 100,000 simulated lists."""
    draws = np.random.RandomState(SEED).beta(CLICKED, SKIPPED, (100_000, len(CLICKED)))
    lists = draws.argsort(axis=1)[:, ::-1][:, :N_POSITIONS]
    counts = [np.bincount(lists[:, position], minlength=len(CLICKED)) for position in range(N_POSITIONS)]
    return np.column_stack(counts) / len(draws)


@pytest.fixture(scope="module")
def logged(logs, thompson):
    """The random log as arrays: the policy of each row (nothing is never shown), item, propensity, click."""
    log = logs["random_all"]
    policy = np.column_stack([np.zeros(len(log)), thompson[:, log["position"] - 1].T])
    item, propensity = log["item_id"].to_numpy(), log["propensity_score"].to_numpy()
    return policy, item, propensity, log["click"].to_numpy(float)


def test_the_logs_have_the_published_click_rates(logs):
    assert [len(logs[name]) for name in ("random_all", "bts_all")] == [10_000, 10_000]
    assert logs["random_all"]["click"].mean() == pytest.approx(0.0038, abs=1e-12)
    assert logs["bts_all"]["click"].mean() == pytest.approx(0.0042, abs=1e-12)


def test_the_policy_has_the_published_probabilities(thompson):
    assert thompson[:3].tolist() == [
        [0.01078, 0.00931, 0.00917],
        [0.00167, 0.00077, 0.00076],
        [0.0058, 0.00614, 0.00631],
    ]
    assert thompson[-1].tolist() == [0.0582, 0.07603, 0.07998]


def test_ips_gives_the_published_value_of_thompson_sampling(logged):
    policy, item, propensity, click = logged
    found = ips(match_weights(policy, item, propensity), click).mean()
    assert f"{found:.6f}" == "0.004553"
    assert f"{found / click.mean():.6f}" == "1.198126"


def test_the_value_of_a_list_is_that_of_its_positions(logs, thompson, logged):
    # Each impression of the log is one position of a list, the others are not in it.
    _, item, propensity, click = logged
    at = (np.arange(len(click)), logs["random_all"]["position"].to_numpy() - 1)
    weights, reward = np.ones((len(click), N_POSITIONS)), np.zeros((len(click), N_POSITIONS))
    weights[at] = position_weights(thompson[item, at[1]], propensity)
    reward[at] = click
    assert independent_ips(weights, reward).mean() == pytest.approx(0.00455288, abs=1e-12)


def test_ips_has_about_the_published_interval(logged):
    policy, item, propensity, click = logged
    rows = np.column_stack([ips(match_weights(policy, item, propensity), click), np.ones(len(click))])
    resampled = UserBootstrap(np.arange(len(click)), np.random.default_rng(0), 2000)
    interval = resampled.figure(lambda sums: sums[..., 0] / sums[..., 1], rows).interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((0.001531, 0.009254), rel=0.1)


@pytest.fixture(scope="module")
def clicks_expected(logs):
    """The published regression, in three folds: the click expected of each item, after a column of 0."""
    log, items = logs["random_all"], logs["item_context_random_all"]
    users = log[[column for column in log if column.startswith("user_feature")]]
    X = pd.get_dummies(users, drop_first=True).to_numpy(float)
    codes = items.drop(columns="item_feature_0")
    context = np.column_stack([OrdinalEncoder().fit_transform(codes), items["item_feature_0"]])
    item, position, click = (log[name].to_numpy() for name in ("item_id", "position", "click"))
    expected = np.zeros((len(log), len(items) + 1))
    for learned, valued in KFold(3, shuffle=True, random_state=SEED).split(X):
        for here in range(1, N_POSITIONS + 1):
            rows, out = learned[position[learned] == here], valued[position[valued] == here]
            model = LogisticRegression(random_state=SEED, tol=1e-8, max_iter=10_000)
            model.fit(np.column_stack([X[rows], context[item[rows]]]), click[rows])
            for s in range(len(items)):
                shown = np.column_stack([X[out], np.tile(context[s], (len(out), 1))])
                expected[out, s + 1] = model.predict_proba(shown)[:, 1]
    return expected


def test_model_based_values_are_within_half_a_percent_of_the_published(logged, clicks_expected):
    policy, item, propensity, click = logged
    weights = match_weights(policy, item, propensity)
    direct = doubly_robust(policy, switch(weights, 0), click, item, clicks_expected).mean()
    robust = doubly_robust(policy, weights, click, item, clicks_expected).mean()
    assert (direct, robust) == pytest.approx((0.003399, 0.004647), rel=5e-3)


def test_the_estimators_between_agree_with_the_click_rate_of_the_policy_itself(logs, logged, clicks_expected):
    policy, item, propensity, click = logged
    weights = match_weights(policy, item, propensity)
    values = [snips(weights, click).mean()]
    for candidates, lighten in ((thresholds, switch), (strengths, shrink)):
        rows = [
            doubly_robust(policy, lighten(weights, candidate), click, item, clicks_expected)
            for candidate in candidates(weights)
        ]
        values.append(least_error(candidate_columns(np.column_stack(rows)).sum(axis=0))[1])
    assert effective_sample_size(weights) < 2000
    assert values == pytest.approx([logs["bts_all"]["click"].mean()] * 3, rel=0.25)
