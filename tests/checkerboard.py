"""A shop whose truth is known by construction: each service fits one half of the users and harms the other.

A user to whom nothing is offered orders with probability 0.2. Offered a service that fits, they order if they
use it, which is likely, and only then; offered one that does not fit, they never order, but many use a: who
is offered what is likeliest used gets a, whether it fits or not. One decision in ten shows a list of two,
answered by its first service that fits.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

N_USERS = 900
N_DECISIONS = 6  # of each user, 20 days apart: the last two are held out for the report, in part
FITS = {"a": "left", "b": "right", "c": "left"}
USES_FIT = {"a": 0.9, "b": 0.6, "c": 0.9}  # probability of a use by those whom the service fits
USES_UNFIT = {"a": 0.8, "b": 0.1, "c": 0.1}  # by those whom it does not fit
EARNED = {"a": 30.0, "b": 30.0, "c": 60.0}  # margin of the order after a use that fits, currency units
ORDERS_UNASKED, EARNED_UNASKED = 0.2, 10.0
UNIT_COST = 1.0
WHALE = 5_000.0  # margin of two orders, one of which is held out: no more than the cap may come of them
START = pd.Timestamp("2025-01-01", tz="UTC")
N_TRAIN, N_TEST = 4 * N_USERS, round(0.3 * N_DECISIONS * N_USERS)

SETTINGS = """
[windows]
uptake_days = 7
repurchase_days = 14
complete_until = "2025-05-15T00:00:00Z"

[training]
test_share = 0.3
"""


def gain(service: str, side: str) -> float:
    """What an offer truly earns more than nothing does, after costs, currency units a user."""
    unasked = ORDERS_UNASKED * EARNED_UNASKED
    if FITS[service] == side:
        return USES_FIT[service] * (EARNED[service] - UNIT_COST) - unasked
    return -USES_UNFIT[service] * UNIT_COST - unasked


def write_checkerboard(folder: Path, services: str = "ab", seed: int = 0, whale: bool = True) -> Path:
    """The shop as a data folder, with its truth beside it."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    side = np.where(np.arange(N_USERS) % 2 == 0, "left", "right")
    names = np.array([f"u{number:03d}" for number in range(N_USERS)])
    slates = [_decide(rng, user, turn, services) for turn in range(N_DECISIONS) for user in range(N_USERS)]
    happened = [_answer(rng, slate, side[slate.user], number) for number, slate in enumerate(slates)]
    tables = {
        "users": pd.DataFrame({"user_id": names, "joined_at": START - pd.Timedelta(days=90), "side": side}),
        "services": pd.DataFrame(
            {
                "service_id": list(services),
                "name": [f"Service {one}" for one in services],
                "unit_cost": UNIT_COST,
            }
        ),
        "exposures": pd.DataFrame([row for slate in slates for row in slate.rows(names[slate.user])]),
        "events": pd.DataFrame([{**event, "user_id": names[user]} for user, event, _ in happened if event]),
        "orders": pd.DataFrame([{**order, "user_id": names[user]} for user, _, order in happened if order]),
    }
    if whale:
        tables["orders"] = pd.concat([tables["orders"], _whales(names[0])])
    for name, frame in tables.items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    (folder / "perkwise.toml").write_text(SETTINGS, encoding="utf-8")
    _write_truth(folder / "truth", names, side, services)
    return folder


@dataclass(frozen=True)
class _Slate:
    user: int
    at: pd.Timestamp
    shown: tuple[str, ...]
    propensity: float  # of the list as a whole
    first: float  # of its first service at the first position

    def rows(self, user_id: str) -> list[dict]:
        shared = {
            "slate_id": f"{user_id}-{self.at:%j}",
            "user_id": user_id,
            "shown_at": self.at,
            "slate_propensity": self.propensity,
        }
        propensities = (self.first, self.propensity * (len(self.shown) - 1))
        return [
            {**shared, "service_id": service, "propensity": propensities[rank], "position": rank + 1}
            for rank, service in enumerate(self.shown or ("",))
        ]


def _decide(rng: np.random.Generator, user: int, turn: int, services: str) -> _Slate:
    at = START + pd.Timedelta(days=10 + 20 * turn, minutes=user)
    alone = 0.6 / len(services)
    pair = 0.1 / (len(services) * (len(services) - 1))
    point = rng.random()
    if point < 0.3:
        return _Slate(user, at, (), 0.3, 0.3)
    first, second = (str(one) for one in rng.choice(list(services), 2, replace=False))
    with_pairs = alone + pair * (len(services) - 1)
    if point < 0.9:
        return _Slate(user, at, (first,), alone, with_pairs)
    return _Slate(user, at, (first, second), pair, with_pairs)


def _answer(rng: np.random.Generator, slate: _Slate, side: str, number: int) -> tuple[int, dict, dict]:
    """The user, the use if there is one, and the order if there is one."""
    used_at, ordered_at = slate.at + pd.Timedelta(days=1), slate.at + pd.Timedelta(days=2)
    fitting = [service for service in slate.shown if FITS[service] == side]
    taken = (fitting or [*slate.shown, ""])[0]
    chance = USES_FIT[taken] if fitting else USES_UNFIT[taken] if slate.shown else ORDERS_UNASKED
    if rng.random() >= chance:
        return slate.user, {}, {}
    use = {"event_id": f"e{number}", "event": "used", "at": used_at, "service_id": taken} if taken else {}
    margin = EARNED[taken] if fitting else EARNED_UNASKED
    order = {"order_id": f"o{number}", "ordered_at": ordered_at, "amount": 2 * margin, "margin": margin}
    return slate.user, use, order if fitting or not slate.shown else {}


def _whales(user_id: str) -> pd.DataFrame:
    days = [12, 112]  # after the first decision and after the last
    return pd.DataFrame(
        {
            "order_id": [f"whale-{day}" for day in days],
            "user_id": user_id,
            "ordered_at": [START + pd.Timedelta(days=day) for day in days],
            "amount": 2 * WHALE,
            "margin": WHALE,
        }
    )


def _write_truth(folder: Path, names: np.ndarray, side: np.ndarray, services: str) -> None:
    folder.mkdir()
    rows = []
    for user_id, half in zip(names, side):
        for service in services:
            fits = FITS[service] == half
            uptake = USES_FIT[service] if fits else USES_UNFIT[service]
            rows.append(
                {
                    "user_id": user_id,
                    "service_id": service,
                    "uptake": uptake,
                    "uplift_repurchase": (uptake if fits else 0.0) - ORDERS_UNASKED,
                    "uplift_margin": gain(service, half) + uptake * UNIT_COST,
                }
            )
    pd.DataFrame(rows).to_parquet(folder / "effects.parquet", index=False)
    held_out_from = START + pd.Timedelta(days=90)
    (folder / "world.json").write_text(json.dumps({"held_out_from": held_out_from.isoformat()}))
