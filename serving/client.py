"""A typed client of the HTTP interface, sync and async; it needs httpx alone.

A request is sent again with the same ``request_id`` (events with their own ``event_id``), so that a retry
never decides or counts twice. Where the service cannot be reached, or has too much to do, `recommend` answers
with the fallback list: ``degraded`` is then "client". What the caller did wrong raises `Refused` at once.

Examples
--------
>>> with Client("http://127.0.0.1:9", fallback=["coffee"], timeout_s=0.2, retries=0) as client:
...     answer = client.recommend("U0001", n=3)  # there is nobody at this port
>>> answer.service_ids, answer.degraded, answer.decision_id
(['coffee'], 'client', None)
"""

import asyncio
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx

A = TypeVar("A", bound="_Answer")

FROM_CLIENT = "client"  # the rung of a list that the client made itself

_AGAIN = (408, 429, 500, 502, 503, 504, 507)
_LONGEST_PAUSE_S = 2.0


class Refused(Exception):
    """The service refused the request as it is: mend it, for sending it again will not help."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Unreachable(Exception):
    """The service did not answer, or had too much to do, at every try."""


@dataclass(frozen=True)
class _Answer:
    @classmethod
    def of(cls: type[A], found: Mapping[str, Any]) -> A:
        """From the answer's JSON; keys that a later service adds are left out."""
        return cls(**{part.name: found[part.name] for part in fields(cls) if part.name in found})


@dataclass(frozen=True)
class Offer(_Answer):
    """One service of a list; the numbers are None where the client made the list itself."""

    service_id: str
    name: str
    rank: int
    uptake: float | None = None
    uplift: float | None = None
    value: float | None = None
    cost: float | None = None
    propensity: float | None = None


@dataclass(frozen=True)
class Recommendation(_Answer):
    """The list of one user; ``decision_id`` is None where the client made the list itself."""

    user_id: str
    services: tuple[Offer, ...]
    decision_id: str | None = None
    arm: str | None = None
    n_reason: str = ""
    degraded: str | None = None
    bundle: str | None = None
    profile_as_of: str | None = None

    @property
    def service_ids(self) -> list[str]:
        return [one.service_id for one in self.services]


@dataclass(frozen=True)
class Verdict(_Answer):
    """What became of one event: accepted, duplicate, conflict or rejected."""

    event_id: str | None
    verdict: str
    reason: str | None = None


@dataclass(frozen=True)
class Event:
    """Something that a user did; its id is made where none is given, and stays through retries."""

    user_id: str
    event: str
    at: datetime
    service_id: str = ""
    value: float | None = None
    event_id: str = ""

    def as_row(self) -> dict[str, Any]:
        if self.at.tzinfo is None:
            raise ValueError(f"at must name its zone, got {self.at!r}: take datetime.now(UTC).")
        row = {"event_id": self.event_id or uuid4().hex, "user_id": self.user_id, "event": self.event}
        return {**row, "at": self.at.isoformat(), "service_id": self.service_id, "value": self.value}


@dataclass(frozen=True)
class Profile(_Answer):
    """What is known of a user now."""

    user_id: str
    profile_as_of: str
    tier: str
    features: dict[str, float | None]


@dataclass(frozen=True)
class Receipt(_Answer):
    """The removal of a user."""

    receipt_id: str
    deleted_at: str
    deleted: dict[str, int]


@dataclass(frozen=True)
class _Call:
    """One request, the same at every try."""

    method: str
    path: str
    body: dict[str, Any] | None = None


class _Asking:
    """What both clients share."""

    _kind: type[Any]  # of the HTTP client

    def __init__(
        self,
        url: str,
        key: str = "",
        timeout_s: float = 0.5,
        retries: int = 2,
        fallback: Sequence[str] = (),
    ) -> None:
        self.retries, self.fallback = retries, tuple(fallback)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._http: Any = self._kind(base_url=url, timeout=timeout_s, headers=headers, trust_env=False)

    def _pauses(self) -> Iterator[float]:
        """Seconds before each further try: longer each time, and not the same for all callers."""
        for turn in range(self.retries):
            yield min(0.05 * 2**turn, _LONGEST_PAUSE_S) * random.uniform(0.5, 1.5)

    def _fall_back(self, user_id: str, n: int | None) -> Recommendation:
        names = self.fallback if n is None else self.fallback[:n]
        offers = tuple(Offer(name, name, rank) for rank, name in enumerate(names, start=1))
        reason = "The service did not answer: this is the list that the client was given for that."
        return Recommendation(user_id, offers, n_reason=reason, degraded=FROM_CLIENT)


class Client(_Asking):
    """The sync client; use it as a context, or end it with `close`.

    Parameters
    ----------
    url : str
        Such as ``http://127.0.0.1:3000``.
    key : str
        The API key, where the service wants one.
    timeout_s : float
        Of one try.
    retries : int
        Tries after the first one.
    fallback : sequence of str
        Ids of the services that `recommend` answers where the service does not.

    Examples
    --------
    >>> Client("http://127.0.0.1:3000", key="pwk_KEY", fallback=["coffee", "delivery"]).close()
    """

    _kind = httpx.Client

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def recommend(
        self,
        user_id: str,
        n: int | None = None,
        *,
        channel: str = "",
        scenario: str = "",
        request_id: str = "",
    ) -> Recommendation:
        """The list for a user; the fallback where the service does not answer."""
        try:
            return _recommendation(self._ask(_recommend(user_id, n, channel, scenario, request_id)))
        except Unreachable:
            return self._fall_back(user_id, n)

    def send_events(self, events: Sequence[Event]) -> list[Verdict]:
        """A verdict for each event; accepted ones are on the service's disk."""
        return _verdicts(self._ask(_events(events)))

    def send_feedback(self, user_id: str, nps: int, at: datetime | None = None, service_id: str = "") -> str:
        """Keep an answer of a user, 0 to 10: "accepted" or "duplicate"."""
        return str(self._ask(_feedback(user_id, nps, at, service_id))["verdict"])

    def profile(self, user_id: str) -> Profile:
        """What is known of a user now."""
        return Profile.of(self._ask(_Call("GET", f"/users/{quote(user_id, safe='')}/profile")))

    def delete_user(self, user_id: str) -> Receipt:
        """Remove a user for good."""
        return Receipt.of(self._ask(_Call("DELETE", f"/users/{quote(user_id, safe='')}")))

    def _ask(self, call: _Call) -> dict[str, Any]:
        pauses = self._pauses()
        while True:
            try:
                response = self._http.request(call.method, call.path, json=call.body)
                if response.status_code not in _AGAIN:
                    return _content(response)
                reason = f"it answered {response.status_code}"
            except httpx.TransportError as error:
                reason = type(error).__name__
            pause = next(pauses, None)
            if pause is None:
                raise Unreachable(_unreachable(self._http.base_url, reason))
            time.sleep(pause)


class AsyncClient(_Asking):
    """The async client: the same parameters and methods; the latter are awaited."""

    _kind = httpx.AsyncClient

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def recommend(
        self,
        user_id: str,
        n: int | None = None,
        *,
        channel: str = "",
        scenario: str = "",
        request_id: str = "",
    ) -> Recommendation:
        """The list for a user; the fallback where the service does not answer."""
        try:
            return _recommendation(await self._ask(_recommend(user_id, n, channel, scenario, request_id)))
        except Unreachable:
            return self._fall_back(user_id, n)

    async def send_events(self, events: Sequence[Event]) -> list[Verdict]:
        """A verdict for each event; accepted ones are on the service's disk."""
        return _verdicts(await self._ask(_events(events)))

    async def send_feedback(
        self, user_id: str, nps: int, at: datetime | None = None, service_id: str = ""
    ) -> str:
        """Keep an answer of a user, 0 to 10: "accepted" or "duplicate"."""
        return str((await self._ask(_feedback(user_id, nps, at, service_id)))["verdict"])

    async def profile(self, user_id: str) -> Profile:
        """What is known of a user now."""
        return Profile.of(await self._ask(_Call("GET", f"/users/{quote(user_id, safe='')}/profile")))

    async def delete_user(self, user_id: str) -> Receipt:
        """Remove a user for good."""
        return Receipt.of(await self._ask(_Call("DELETE", f"/users/{quote(user_id, safe='')}")))

    async def _ask(self, call: _Call) -> dict[str, Any]:
        pauses = self._pauses()
        while True:
            try:
                response = await self._http.request(call.method, call.path, json=call.body)
                if response.status_code not in _AGAIN:
                    return _content(response)
                reason = f"it answered {response.status_code}"
            except httpx.TransportError as error:
                reason = type(error).__name__
            pause = next(pauses, None)
            if pause is None:
                raise Unreachable(_unreachable(self._http.base_url, reason))
            await asyncio.sleep(pause)


def _recommend(user_id: str, n: int | None, channel: str, scenario: str, request_id: str) -> _Call:
    body = {"user_id": user_id, "n": n, "channel": channel, "scenario": scenario}
    return _Call("POST", "/recommend", {**body, "request_id": request_id or uuid4().hex})


def _events(events: Sequence[Event]) -> _Call:
    return _Call("POST", "/events", {"events": [event.as_row() for event in events]})


def _feedback(user_id: str, nps: int, at: datetime | None, service_id: str) -> _Call:
    moment = (at or datetime.now(UTC)).isoformat()
    return _Call(
        "POST", "/feedback", {"user_id": user_id, "nps": nps, "at": moment, "service_id": service_id}
    )


def _recommendation(found: dict[str, Any]) -> Recommendation:
    offers = tuple(Offer.of(one) for one in found["services"])
    return Recommendation.of({**found, "services": offers})


def _verdicts(found: dict[str, Any]) -> list[Verdict]:
    return [Verdict.of(one) for one in found["verdicts"]]


def _content(response: httpx.Response) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        found = {"error": "the answer is no JSON: is this Perkwise?"}
    if isinstance(found, dict) and "verdicts" in found:
        return found  # each row has its own
    if not response.is_success or not isinstance(found, dict) or list(found) == ["error"]:
        raise Refused(response.status_code, str(found.get("error") if isinstance(found, dict) else found))
    return found


def _unreachable(url: httpx.URL, reason: str) -> str:
    return f"the service at {url} did not answer: {reason}. Is it running, and is the address right?"
