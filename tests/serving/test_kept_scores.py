"""Scores made beforehand say what would be said at once, and only while that holds."""

import fcntl
from dataclasses import replace

import numpy as np
import pytest

from serving.fill_scores import fill
from serving.kept_scores import ROWS, KeptScores, key_of, newest
from serving.schemas import RecommendRequest

DAY_US = 86_400_000_000


@pytest.fixture
def scores(application, data, clock, tmp_path):
    """Of all users of the data folder; of the fourth and the fifth an event came in before."""
    users = application.state.history.user_ids
    application.state.add_event(users[3], "visit", clock() - DAY_US, "", None)
    application.state.add_event(users[4], "visit", clock() + 5, "", None)
    bundle = application.bundle
    folder = fill(tmp_path / "scores", key_of(data, bundle), application.state, bundle, clock())
    return KeptScores(folder, bundle)


def test_each_row_is_what_would_be_computed_at_once(application, scores, clock):
    state, users = application.state, application.state.history.user_ids
    assert len(scores) == len(users)
    for number, user_id in enumerate(users):
        row, live = scores.row(number, state.n_live_rows(user_id)), state.profile(user_id, clock())
        assert row.profile.features.tobytes() == live.features.tobytes()
        assert (row.profile.tier, row.profile.as_of_us) == (live.tier, live.as_of_us)
        said = application.bundle.estimates(live.features[None], repurchase=False)
        assert row.uptake.tobytes() == said.uptake[0].tobytes()
        assert row.uplift_margin.tobytes() == said.uplift_margin[0].tobytes()


def test_what_comes_in_makes_a_row_useless_and_so_does_its_age(application, scores, clock):
    deciding, users = application.deciding, application.state.history.user_ids
    deciding.ladder.scores = scores
    made_at_us = clock()
    clock.now_us += DAY_US // 2
    (decision,) = deciding.decide([RecommendRequest(user_id=users[0])], clock())
    assert decision.asked.as_of_us == made_at_us
    application.state.add_event(users[0], "visit", clock(), "", None)
    (decision,) = deciding.decide([RecommendRequest(user_id=users[0])], clock())
    assert decision.asked.as_of_us > made_at_us + DAY_US // 2
    assert deciding.decide([RecommendRequest(user_id=users[1])], clock())[0].asked.as_of_us == made_at_us
    clock.now_us = made_at_us + DAY_US + 1
    assert deciding.decide([RecommendRequest(user_id=users[1])], clock())[0].asked.as_of_us == clock()


def test_decisions_from_kept_rows_and_from_none_are_the_same(application, scores, clock):
    deciding, users = application.deciding, application.state.history.user_ids
    requests = [RecommendRequest(user_id=user_id) for user_id in (*users[:60], "a stranger")]
    now = clock() + 10  # what the fifth user did is known to both
    at_once = deciding.decide(requests, clock())
    deciding.ladder.scores = scores
    for one, other in zip(at_once, deciding.decide(requests, now), strict=True):
        assert (one.policy_list, one.worth_by_length) == (other.policy_list, other.worth_by_length)
        assert one.estimates.uplift_margin.tobytes() == other.estimates.uplift_margin.tobytes()


def test_a_row_with_any_bit_flipped_is_no_row(scores):
    content = np.load(scores.folder / ROWS, mmap_mode="r+")
    as_bytes = content.view(np.uint8).reshape(len(content), -1)
    rng = np.random.default_rng(0)
    for number in range(100):
        place, bit = rng.integers(as_bytes.shape[1]), rng.integers(8)
        as_bytes[number, place] ^= np.uint8(1 << bit)
    content.flush()
    assert [scores.row(number, 0) for number in range(100)] == [None] * 100
    assert scores.row(100, 0) is not None


def test_users_of_whom_something_has_yet_to_happen_are_scored_when_they_ask(application, data, tmp_path):
    state = application.state
    last_us = int(state.history.orders.at_us.max())
    folder = fill(tmp_path / "scores", "early", state, application.bundle, last_us - DAY_US)
    scores = KeptScores(folder, application.bundle)
    logs = (state.history.orders, state.history.events, state.history.offers, state.history.feedback)
    later = set(np.concatenate([log.user[log.at_us >= last_us - DAY_US] for log in logs]).tolist())
    useful = {number for number in range(len(scores)) if scores.row(number, 0) is not None}
    assert later and useful == set(range(len(scores))) - later


def test_deletion_reaches_scores_that_are_mapped_now_and_later(client, application, scores, data, clock):
    users = application.state.history.user_ids
    application.take_scores(scores)
    features = scores.row(7, 0).profile.features.tobytes()
    assert client.delete(f"/users/{users[7]}").status_code == 200
    assert features not in (scores.folder / ROWS).read_bytes()
    again = fill(scores.folder.parent, key_of(data, application.bundle), application.state,
                 application.bundle, clock() + 1)  # fmt: skip
    assert features not in (again / ROWS).read_bytes()
    assert not scores.folder.exists()


def test_scores_of_another_bundle_or_in_pieces_are_not_taken(application, scores, data, clock):
    bundle, root = application.bundle, scores.folder.parent
    key, n_users = key_of(data, bundle), len(scores)
    assert newest(root, key, bundle, n_users).as_of_us == clock()
    other = replace(bundle, hash="0" * 16)
    assert key_of(data, other) != key
    with pytest.raises(ValueError, match="of the bundle 0000000000000000, got others"):
        KeptScores(scores.folder, other)
    assert newest(root, key, bundle, n_users + 1) is None
    (scores.folder / ROWS).write_bytes((scores.folder / ROWS).read_bytes()[:-1])
    assert newest(root, key, bundle, n_users) is None
    assert scores.row(n_users - 1, 0) is None and scores.row(n_users - 2, 0) is not None


def test_one_process_fills_at_a_time(application, data, clock, tmp_path):
    root = tmp_path / "scores"
    root.mkdir()
    with (root / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert fill(root, "key", application.state, application.bundle, clock()) is None
    assert fill(root, "key", application.state, application.bundle, clock()).is_dir()
