import pytest
from pydantic import ValidationError

from serving.schemas import EventRow, FeedbackRequest, RecommendRequest, faults

EVENT = {"event_id": "e1", "user_id": "007", "event": "used", "at": "2026-05-01T12:00:00Z"}
FEEDBACK = {"user_id": "NA", "at": "2026-05-01T12:00:00+02:00", "nps": 9}


@pytest.mark.parametrize(
    "schema, body",
    [
        (RecommendRequest, {"user_id": "null", "n": 1, "channel": "app", "scenario": "", "explain": True}),
        (RecommendRequest, {"user_id": "用户🙂", "request_id": "r1"}),
        (EventRow, EVENT),
        (EventRow, {**EVENT, "service_id": "s1", "value": 3}),
        (FeedbackRequest, FEEDBACK),
    ],
)
def test_good_requests_are_taken(schema, body):
    assert schema.model_validate(body)


@pytest.mark.parametrize(
    "schema, body, message",
    [
        (RecommendRequest, {}, "user_id is missing"),
        (RecommendRequest, {"user_id": 7}, "user_id: should be a valid string, got 7"),
        (RecommendRequest, {"user_id": None}, "user_id: should be a valid string, got null"),
        (RecommendRequest, {"user_id": ["secret"]}, "user_id: should be a valid string, got a list"),
        (RecommendRequest, {"user_id": " "}, "user_id: must not be empty, got a text"),
        (RecommendRequest, {"user_id": "secret" * 99}, "user_id: .* at most 512 characters, got a text"),
        (RecommendRequest, {"user_id": "u", "n": 0}, "n: should be greater than or equal to 1, got 0"),
        (RecommendRequest, {"user_id": "u", "n": 1.5}, "n: should be a valid integer, got 1.5"),
        (RecommendRequest, {"user_id": "u", "n": True}, "n: should be a valid integer, got true"),
        (
            RecommendRequest,
            {"user_id": "u", "explain": "yes"},
            "explain: should be a valid boolean, got a text",
        ),
        (RecommendRequest, {"user_id": "u", "top": 3}, "top is not a key of this request"),
        (EventRow, {**EVENT, "at": "yesterday"}, "at: should be a valid datetime.*, got a text"),
        (EventRow, {**EVENT, "at": "2026-05-01T12:00:00"}, "at: should have timezone info, got a text"),
        (EventRow, {**EVENT, "at": "1700000000"}, "at: must be a text as ISO 8601, got a text"),
        (EventRow, {**EVENT, "at": 1_700_000_000}, "at: must be a text as ISO 8601, got 1700000000"),
        (
            EventRow,
            {**EVENT, "value": float("nan")},
            "value: .*finite number, got a number too large, or NaN",
        ),
        (EventRow, "secret", "body: should be .*, got a text"),
        (FeedbackRequest, {**FEEDBACK, "nps": 11}, "nps: should be less than or equal to 10, got 11"),
        (FeedbackRequest, {**FEEDBACK, "nps": 10**9999}, "nps: .* got a number too large"),
        (EventRow, {**EVENT, "value": 10**400}, "value: .* got a number too large"),
        (FeedbackRequest, {**FEEDBACK, "nps": 7.5}, "nps: should be a valid integer, got 7.5"),
    ],
)
def test_each_fault_says_what_was_expected_and_the_kind_of_what_was_found(schema, body, message):
    with pytest.raises(ValidationError) as caught:
        schema.model_validate(body)
    told = faults(caught.value)
    with pytest.raises(ValueError, match=message):
        raise ValueError(told)
    assert "secret" not in told


def test_all_faults_come_at_once():
    with pytest.raises(ValidationError) as caught:
        EventRow.model_validate({"user_id": "u", "event": ""})
    assert faults(caught.value).count(";") == 2


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"user_id": "\xff"}', b'{"user_id": "\\ud800"}', b"[" * 100_000]
)
def test_what_is_no_json_is_said_to_be_none(body):
    with pytest.raises(ValidationError) as caught:
        RecommendRequest.model_validate_json(body)
    assert faults(caught.value).startswith("body must be JSON: ")
