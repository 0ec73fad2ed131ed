"""What the log keeps of a decision: enough, compact, and of one meaning."""

import numpy as np
import pytest

from offers.seeds import new_seed
from offers.settings import ExplorationSettings, Settings
from serving.answers import decision_answer, exposure_rows
from serving.database import Database
from serving.deletion import DeletedUsers
from serving.kept import Kept, Names, kept_settings, read, settings_of
from serving.recommender import recommend
from serving.records import asked_of, from_text, is_replayable, keep_basis, record_of, to_text
from serving.state import State
from tests.serving.conftest import asked_for_all

NOW = 1_800_000_000_000_000
SETTINGS = Settings(exploration=ExplorationSettings(holdout=0.2, explore=0.4))


@pytest.fixture
def basis(bundle, tmp_path):
    database = Database(tmp_path / "state.db")
    yield database.run_now(lambda connection: keep_basis(connection, bundle, SETTINGS))
    database.close()


@pytest.fixture(scope="module")
def asked(tables, bundle):
    """One request for each user; each tenth wants to know why."""
    state = State(tables, bundle.layout, bundle.tiers, 7, DeletedUsers(b"key", set()))
    requests = asked_for_all(tables, state, NOW)
    return [one._replace(explain=number % 10 == 0, channel="app") for number, one in enumerate(requests)]


def records_of(basis, asked):
    decisions = recommend(basis.bundle, SETTINGS, asked, NOW)
    return [
        record_of(f"d{number}", decision.asked.user_id, decision, basis)
        for number, decision in enumerate(decisions)
    ]


def test_a_record_gives_back_the_request_to_the_last_bit(basis, asked):
    for one, record in zip(asked, records_of(basis, asked), strict=True):
        again = asked_of(from_text(to_text(record)))
        assert again.profile.dtype == np.float32 and again.profile.tobytes() == one.profile.tobytes()
        assert again._replace(profile=one.profile) == one


def test_what_is_asked_again_is_decided_and_written_alike(basis, asked):
    records = records_of(basis, asked)
    assert {record["arm"] for record in records} == {"policy", "explore", "holdout"}
    again = records_of(basis, [asked_of(from_text(to_text(record))) for record in records])
    assert [to_text(record) for record in again] == [to_text(record) for record in records]


def test_alone_and_among_others_the_record_is_the_same(basis, asked):
    together = records_of(basis, asked)
    for number in range(0, len(asked), 5):
        (alone,) = records_of(basis, [asked[number]])
        assert to_text({**alone, "decision_id": f"d{number}"}) == to_text(together[number])


def test_the_answer_is_the_same_from_the_record_in_memory_and_on_disk(basis, asked):
    for record in records_of(basis, asked):
        stored = from_text(to_text(record))
        assert decision_answer(stored, basis.names, "u") == decision_answer(record, basis.names, "u")
        assert exposure_rows(stored, basis.names) == exposure_rows(record, basis.names)


def test_without_the_id_the_record_says_who_is_in_the_holdout(basis, asked):
    decisions = recommend(basis.bundle, SETTINGS, asked, NOW)
    for decision in decisions:
        nameless = record_of("d", "", decision, basis)
        assert nameless["user_id"] == ""
        (again,) = recommend(basis.bundle, SETTINGS, [asked_of(nameless)], NOW)
        assert (again.arm, again.offered) == (decision.arm, decision.offered)


def test_a_seed_of_several_numbers_comes_back(basis, asked):
    (decision,) = recommend(basis.bundle, SETTINGS, [asked[0]._replace(seed=(3, 5))], NOW)
    assert asked_of(from_text(to_text(record_of("d", "u", decision, basis)))).seed == (3, 5)


def test_a_seed_that_is_a_state_comes_back(basis, asked):
    seed = new_seed()
    first, again = (
        recommend(basis.bundle, SETTINGS, [one._replace(seed=seed) for one in asked], NOW) for _ in range(2)
    )
    assert [one.offered for one in first] == [one.offered for one in again]
    assert asked_of(from_text(to_text(record_of("d", "u", first[0], basis)))).seed == seed


def test_prices_and_load_come_back_and_decide_again(basis, asked):
    n_services = len(basis.bundle.catalog)
    dear = [
        one._replace(
            choice_load=0.1 * (number % 5),
            money=0.2 * (number % 3),
            showing=np.full(n_services, 0.3 * (number % 2)),
        )
        for number, one in enumerate(asked)
    ]
    records = records_of(basis, dear)
    again = [asked_of(from_text(to_text(record))) for record in records]
    assert [to_text(record) for record in records_of(basis, again)] == [to_text(record) for record in records]
    assert [(one.choice_load, one.money) for one in again] == [(one.choice_load, one.money) for one in dear]
    for one, record, free in zip(dear, records, records_of(basis, asked), strict=True):
        values, free_values = ({row[0]: row[3:5] for row in kind["shown"]} for kind in (record, free))
        for place in values.keys() & free_values.keys():
            cost = free_values[place][1]
            expected = free_values[place][0] - one.money * cost - one.showing[place]
            assert values[place][0] == pytest.approx(expected)


def test_the_first_format_cannot_be_replayed(basis, asked):
    (record,) = records_of(basis, asked[:1])
    assert is_replayable(record) and not is_replayable({"decision_id": "d"})


def test_names_and_settings_come_back_from_what_was_kept(bundle):
    assert Names.from_kept(Names.of(bundle).to_kept().content) == Names.of(bundle)
    assert settings_of(kept_settings(SETTINGS).content) == SETTINGS


def test_the_same_content_is_kept_once_and_what_is_not_kept_is_named(tmp_path):
    database = Database(tmp_path / "state.db")
    one = Kept.of("settings", b"{}")
    for _ in range(2):
        database.run_now(one.write)
    assert database.run_now(lambda connection: read(connection, one.hash)) == b"{}"
    assert Kept.of("names", b"{}").hash != one.hash
    with pytest.raises(LookupError, match="found nothing of the hash 0000"):
        database.run_now(lambda connection: read(connection, "0000"))
    database.close()
