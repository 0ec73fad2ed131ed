"""What requests and answers look like: the keys, types and limits of the HTTP interface.

Requests are checked against these types; answers are described by them (a test holds real answers
against them).
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SkipValidation,
    ValidationError,
)

_NUMBER = re.compile(r"\s*[+-]?\d*\.?\d+\s*")


def _present(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return _storable(text)


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold NUL")  # no database takes it
    return text


def _text(at: Any) -> Any:
    if not isinstance(at, str) or _NUMBER.fullmatch(at):  # else taken for seconds since 1970
        raise ValueError("must be a text as ISO 8601")
    return at


Id = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_present)]
Text = Annotated[str, Field(max_length=512), AfterValidator(_storable)]
Time = Annotated[
    AwareDatetime,
    BeforeValidator(_text),
    Field(strict=False, description="ISO 8601 with the offset from UTC, such as 2026-05-01T12:00:00Z."),
]


class Request(BaseModel):
    """A request: keys that are not listed are refused, and numbers are finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class RecommendRequest(Request):
    """Whom to recommend services to."""

    user_id: Id
    n: int | None = Field(None, ge=1, description="Show at most this many; never more than max_services.")
    channel: Text = Field("", description="Where the list is shown; kept in the log.")
    scenario: Text = Field("", description="Only services of this scenario, or of none.")
    explain: bool = Field(False, description="Also say why, and why not.")
    request_id: Id | None = Field(None, description="The same id and body give the same answer.")


class BatchRequest(Request):
    """Several requests at once; each is checked, and answered or refused, by itself."""

    requests: list[SkipValidation[RecommendRequest]] = Field(min_length=1)


class EventRow(Request):
    """One row of the table events."""

    event_id: Id
    user_id: Id
    event: Id = Field(description="viewed, clicked, used, or the shop's own.")
    at: Time
    service_id: Text = ""
    value: float | None = None


class EventsRequest(Request):
    """Events that happened; each row is checked, and kept or refused, by itself."""

    events: list[SkipValidation[EventRow]] = Field(min_length=1)


class FeedbackRequest(Request):
    """One row of the table feedback."""

    user_id: Id
    at: Time
    nps: int = Field(ge=0, le=10)
    service_id: Text = ""


Cold = Annotated[
    bool,
    Field(description="Hardly shown when the models learned: its numbers come from services like it."),
]


class Why(BaseModel):
    feature: str
    value: float | None = Field(description="The feature's value in the profile; null: unknown.")
    effect: float = Field(description="What it adds to the value of the service, currency units.")


class Offer(BaseModel):
    service_id: str
    name: str
    rank: int = Field(description="1 is the top.")
    uptake: float = Field(description="Probability of use within uptake_days, offered alone.")
    uplift: float = Field(description="Change in margin if offered alone, currency units.")
    value: float = Field(description="Uplift less costs, offered alone.")
    cost: float = Field(description="Expected cost, offered alone: uptake * unit_cost + contact_cost.")
    propensity: float | None = Field(
        description="Probability of this service at this rank; null: the decision is not in the log."
    )
    cold: Cold
    why: list[Why] = Field(
        description="With explain: the features that move the value most, strongest first."
    )
    why_base: float | None = Field(
        description="With explain: the value for a typical user; it, the effects and why_rest are the value."
    )
    why_rest: float | None = Field(description="With explain: what all other features add, currency units.")


class WhyNot(BaseModel):
    service_id: str
    reason: str


class Prices(BaseModel):
    """What budgets that bind add to the costs; all 0 where none does."""

    money: float = Field(description="A unit spent must earn 1 + money.")
    showing: dict[str, float] = Field(description="By service shown: money charged for showing it.")


class RecommendAnswer(BaseModel):
    decision_id: str | None = Field(description="null: it could not be kept (degraded: not_logged).")
    user_id: str
    arm: Literal["policy", "explore", "holdout"]
    services: list[Offer] = Field(description="Best first; empty: nothing is worth showing.")
    n_reason: str = Field(description="Why so many.")
    why_not: list[WhyNot] | None = Field(None, description="With explain: each service refused, and why.")
    prices: Prices | None = Field(None, description="What budgets added; null: an older decision.")
    degraded: str | None = Field(
        description="The rung of the ladder that answered: last_profile, tier_list or constant_list; "
        "not_logged: the decision could not be kept. null: nothing was missing."
    )
    bundle: str
    profile_as_of: datetime


class Refused(BaseModel):
    error: str
    status: int


class BatchAnswer(BaseModel):
    answers: list[RecommendAnswer | Refused] = Field(description="One for each request, in their order.")


class Verdict(BaseModel):
    event_id: str | None
    verdict: Literal["accepted", "duplicate", "conflict", "rejected"]
    reason: str | None = Field(description="Every fault of the row; null: it is kept.")
    row: int = Field(description="Its number in the request, from 1.")
    column: str | None = Field(description="Where the first fault is; empty: the row as a whole.")
    rule: str | None = Field(description="The rule that it breaks.")
    remedy: str | None = Field(description="What to do.")


class EventsAnswer(BaseModel):
    accepted: int
    duplicate: int
    conflict: int
    rejected: int
    verdicts: list[Verdict] = Field(description="One for each row, in their order.")


class FeedbackAnswer(BaseModel):
    verdict: Literal["accepted", "duplicate"]


class Candidates(BaseModel):
    """What was known of every service, in catalogue order."""

    service_id: list[str]
    eligible: list[bool]
    uptake: list[float | None]
    uplift_margin: list[float | None]
    showing: list[float] | None = Field(None, description="Money charged for each showing; null: nothing.")


class DecisionAnswer(RecommendAnswer):
    format: int = Field(1, description="Of the record; the first, older one lacks the keys that are null.")
    decided_at: datetime | None = None
    settings: str | None = Field(None, description="The hash of the settings that decided.")
    channel: str
    scenario: str
    tier: str
    max_services: int
    slate_propensity: float = Field(description="Probability of the whole list, or of nothing.")
    inclusion: dict[str, float] | None = Field(
        None, description="Probability of each service shown, at whichever rank."
    )
    policy_list: list[str] = Field(description="What the policy would show without exploration.")
    worth_by_length: list[float | None] = Field(description="Money, of the best list of each length.")
    held_out: bool | None = Field(None, description="Is the user in the holdout?")
    choice_load: float | None = Field(None, description="Of this user; null: the setting.")
    money: float | None = Field(None, description="What a unit spent must earn more, as a budget binds.")
    withheld: dict[str, list[str]] | None = Field(None, description="Services that holdouts keep, by name.")
    closed: dict[str, list[str]] | None = Field(None, description="What no budget had room for, by reason.")
    holdout: float
    explore: float
    seed: int | list[int] | str = Field(description="Of the draw; text: hexadecimal.")
    candidates: Candidates
    profile: dict[str, float | None] | None = Field(None, description="What was known; null: unknown.")


class ProfileAnswer(BaseModel):
    user_id: str
    profile_as_of: datetime
    tier: str
    features: dict[str, float | None]


class ServiceAnswer(BaseModel):
    service_id: str
    name: str
    category: str
    scenario: str
    unit_cost: float
    contact_cost: float
    tiers: list[str]
    capacity_per_day: int | None
    provider: str
    active_from: datetime | None
    active_until: datetime | None
    cold: Cold


class RulesAnswer(BaseModel):
    hash: str = Field(description="Of the rules in force; empty where there are none.")
    names: list[str] = Field(description="Of the rules in force.")
    faults: list[str] = Field(description="Why the rules file as it stands now is not in force, with lines.")


class BudgetForecast(BaseModel):
    """The period's end, if it goes on as it did."""

    open_amount: float = Field(
        description="May be spent: the reserve is part of it once a shift is declared."
    )
    committed: float = Field(description="Spent, and expected of offers that may still be used.")
    projected: float = Field(description="Committed at the end of the period.")
    share_of_revenue: float | None = Field(description="Of what is projected; null: no revenue is known.")
    is_reserve_open: bool
    warnings: list[str]


class BudgetAnswer(BaseModel):
    """A budget in its present period."""

    name: str
    kind: Literal["money", "contacts"]
    period: str
    amount: float
    spent: float
    price: float = Field(description="What a unit of it must earn on top.")
    forecast: BudgetForecast
    is_throttled: bool = Field(description="Only free services are shown: the others cost too much revenue.")


class ServicesAnswer(BaseModel):
    services: list[ServiceAnswer]
    bundle: str
    rules: RulesAnswer
    budgets: list[BudgetAnswer] = Field(description="In the order of the settings; none: nothing is limited.")
    bundle_faults: list[str] = Field(description="Why the champion is not served yet; none: it is.")


class DeletedAnswer(BaseModel):
    """The receipt of a removal; it is kept without the user's id."""

    user_id: str
    receipt_id: str
    deleted_at: datetime
    deleted: dict[str, int] = Field(description="Rows removed: events, feedback, decisions.")


class ErrorAnswer(BaseModel):
    error: str


@dataclass(frozen=True)
class Fault:
    """Why a row is refused."""

    reason: str
    column: str  # "": the row as a whole
    rule: str
    remedy: str


_RULES = {  # by pydantic's type of a fault, or by what a check of ours says: rule and remedy
    "missing": ("required", "send it with every row"),
    "extra_forbidden": ("known columns alone", "leave it out"),
    "model_type": ("an object", "send the row as an object with the table's columns as keys"),
    "string_type": ("a text", "send it in quotes"),
    "string_too_long": ("at most 512 characters", "shorten it"),
    "string_too_short": ("not empty", "fill it in"),
    "must not be empty": ("not empty", "fill it in"),
    "must not hold NUL": ("no NUL", "remove the NUL character"),
    "must be a text as ISO 8601": ("a time as ISO 8601", "write it like 2026-05-01T12:00:00Z"),
    "timezone_aware": ("names its zone", "write it with its offset, like 2026-05-01T12:00:00Z"),
    "float_type": ("a number", "send it as a number, without quotes"),
    "finite_number": ("a finite number", "leave it out where there is none"),
}
_TIME = _RULES["must be a text as ISO 8601"]


def fault_of(error: ValidationError) -> Fault:
    """Every fault of a row as the reason; column, rule and remedy of the first."""
    first = error.errors(include_url=False, include_context=False)[0]
    said = first["msg"].removeprefix("Value error, ")
    rule, remedy = _RULES.get(first["type"]) or _RULES.get(said) or _TIME  # all else is of the time
    return Fault(faults(error), ".".join(map(str, first["loc"])), rule, remedy)


def faults(error: ValidationError) -> str:
    """Every fault of a request in one line; of what was found, only its kind is told."""
    return "; ".join(_fault(one) for one in error.errors(include_url=False, include_context=False))


def _fault(one: Any) -> str:
    where = ".".join(str(part) for part in one["loc"]) or "body"
    if one["type"] == "missing":
        return f"{where} is missing"
    if one["type"] == "extra_forbidden":
        return f"{where} is not a key of this request"
    if one["type"] == "json_invalid":
        return f"body must be JSON: {one['msg'].removeprefix('Invalid JSON: ')}"
    expected = re.sub(r"^(Value error, |(Input|String|List) should |Input )", "", one["msg"])
    return f"{where}: should {expected}, got {_kind(one['input'])}".replace("should must", "must")


_LARGE = 2**63  # Python itself refuses to spell much larger ones


def _kind(found: Any) -> str:
    if found is None or isinstance(found, bool):
        return {True: "true", False: "false", None: "null"}[found]
    if isinstance(found, int | float):
        return repr(found) if abs(found) < _LARGE else "a number too large, or NaN"
    kinds = {str: "a text", list: "a list", dict: "an object"}
    return next((name for kind, name in kinds.items() if isinstance(found, kind)), "something else")
