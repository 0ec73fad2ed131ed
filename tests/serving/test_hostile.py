"""Requests that nobody of good will sends, by the thousand: a 4xx in words, and the service lives.

Some are made from the OpenAPI document (valid ones, and with one fault), some by mutating good requests byte
by byte. The slow tests send ten thousand.
"""

import json
import logging
import random
import re

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

from serving.application import Application
from serving.database import Database
from serving.metrics import exposition
from serving.routes import ENDPOINTS, openapi
from tests.serving.live import is_whole, make_guard, serving
from tests.serving.test_edge import answers, post

N_QUICK, N_SLOW = 240, 10_000

GOOD = [
    ("/recommend", {"user_id": "u1", "n": 2, "channel": "app", "scenario": "", "explain": True}),
    ("/recommend", {"user_id": "u1", "request_id": "r1"}),
    ("/recommend_batch", {"requests": [{"user_id": "u1"}, {"user_id": "u2", "n": 1}]}),
    (
        "/events",
        {
            "events": [
                {"event_id": "e1", "user_id": "u1", "event": "used", "at": "2026-05-01T12:00:00Z"},
                {
                    "event_id": "e2",
                    "user_id": "u1",
                    "event": "own",
                    "at": "2026-05-01T12:00:00Z",
                    "value": 1.5,
                },
            ]
        },
    ),
    ("/feedback", {"user_id": "u1", "at": "2026-05-01T12:00:00Z", "nps": 7}),
]
POISON = [
    b"NaN", b"-Infinity", b"1e999", b"-1e999", b"9" * 400, b"-0", b"1e-999", b"null", b"true", b'""', b"[]",
    b"{}",
    b'"\\ud800"', b'"\\u0000"', b'"\xff\xfe"', b'"' + "é🙂\u202e".encode() + b'"', b"[" * 300, b'{"a":' * 300,
    b'"' + b"x" * 5000 + b'"', b'"0001-01-01T00:00:00+23:59"', b'"9999-12-31T23:59:59.999999-23:59"',
    b'"2026-05-01"', b"\x00", b"\r\n", b"/**/", b",,", b'"__class__"',
]  # fmt: skip


@pytest.fixture(scope="module")
def live(tables, bundle, settings, tmp_path_factory):
    """One service for all tests here."""
    folder = tmp_path_factory.mktemp("hostile")
    database = Database(folder / "state.db")
    application = Application(tables, bundle, database, settings, lambda: 1_800_000_000_000_000)
    with serving(application, make_guard(folder, max_body_bytes=2**18)) as one:
        yield one
        assert one.is_alive()
    database.close()


@pytest.fixture(autouse=True)
def no_fault_is_logged(caplog):
    caplog.set_level(logging.WARNING, logger="perkwise")
    before = n_faults()
    yield
    assert [record.getMessage() for record in caplog.records if record.name == "perkwise"] == []
    assert n_faults() == before


def n_faults():
    """Answers with a 500 of this process so far."""
    return sum(
        map(
            float,
            re.findall(r'^perkwise_requests_total{.*status="5..".*} (.*)$', exposition().decode(), re.M),
        )
    )


def check_from_document(live, n_cases, modes):
    """Every operation of the document, so many requests each."""
    schema = schemathesis.openapi.from_dict(openapi())
    schema.config.update(base_url=live.url)
    operations = [one.ok() for one in schema.get_all_operations()]
    assert len(operations) >= len(ENDPOINTS)
    counted = 0
    for operation in operations:
        for mode in modes:
            if (strategy := _cases(operation, mode)) is None:
                continue

            @hypothesis.settings(
                max_examples=max(n_cases // len(operations) // len(modes), 1),
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
                phases=[hypothesis.Phase.generate],
            )
            @given(strategy)
            def ask(case):
                nonlocal counted
                response = case.call(timeout=30)
                counted += 1
                assert response.status_code < 500, (case.as_curl_command(), response.text)
                if response.status_code >= 400:
                    assert response.headers["content-type"][0].startswith("application/json")
                    assert "error" in response.json() or "answers" in response.json()

            ask()
    return counted


def _cases(operation, mode):
    """None where there is nothing that can be wrong: any text is an id."""
    if mode.is_negative and not operation.body:
        return None
    return operation.as_strategy(generation_mode=mode)


@st.composite
def mutated(draw):
    """A good request with up to six faults in its bytes."""
    path, body = draw(st.sampled_from(GOOD))
    found = json.dumps(body).encode()
    rng = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(found) + 1)
        length = rng.choice([0, 1, 1, 2, 8])
        found = (
            found[:place] + rng.choice([*POISON, rng.randbytes(rng.randint(0, 6))]) + found[place + length :]
        )
        values = [part for part in (b'"u1"', b"1.5", b'"2026-05-01T12:00:00Z"', b"7", b"2") if part in found]
        if values and rng.random() < 0.7:
            found = found.replace(rng.choice(values), rng.choice(POISON), 1)
    return path, found


def check_mutated(live, n_cases):
    connection = live.connect()

    @hypothesis.settings(
        max_examples=n_cases,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @given(mutated())
    def ask(request):
        path, body = request
        connection.sendall(post(body, path=path.encode()))
        found = connection.recv(2**20)
        while not is_whole(found):
            found += connection.recv(2**20)
        ((status, answer),) = answers(found)
        assert status in (200, 400, 409, 413), (status, path, body)
        assert status == 200 or "error" in answer or "answers" in answer

    with connection:
        ask()


BOTH = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


def test_requests_made_from_the_document_are_no_fault_of_ours(live):
    assert check_from_document(live, N_QUICK, BOTH) > N_QUICK // 3


def test_mutated_requests_are_no_fault_of_ours(live):
    check_mutated(live, N_QUICK)


@pytest.mark.slow
def test_ten_thousand_hostile_requests_are_no_fault_of_ours(live):
    n_made = check_from_document(live, N_SLOW // 2, BOTH)
    check_mutated(live, N_SLOW - min(n_made, N_SLOW // 2))


@given(st.binary(max_size=300))
@hypothesis.settings(
    max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_bytes_that_are_no_http_are_answered_in_words_or_by_silence(live, sent):
    with live.connect() as connection:
        connection.sendall(sent)
        connection.shutdown(1)
        found = connection.recv(65536)
    assert found == b"" or answers(found)[0][0] in range(400, 500)
