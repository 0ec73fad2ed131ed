"""The simulated customers: what they are like, and the part of it that the shop can see."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

TOPICS = ("delivery", "care", "comfort", "membership")  # what a service is about, and what a taste is for
REGIONS = ("north", "east", "south", "west", "capital")
PLANS = ("basic", "plus", "premium")

_REGION_SHARES = (0.2, 0.15, 0.25, 0.15, 0.25)
_PLAN_CUTS = (0.6, 0.9)  # shares of users below plus and below premium
_ORDERS_PER_DAY = 0.32 / 14  # of the median user
_SLOWEST, _FASTEST = 0.05 / 14, 0.95 / 14
_RATE_SPREAD = 0.65  # standard deviation of the logarithm
_MEDIAN_AMOUNT = 50.0  # currency units
_AMOUNT_SPREAD = 0.35
_CANDOUR = 3.0  # how surely a user names the topic of the strongest taste
_SHARE_JOINING_LATER = 0.2  # during the first 30 % of the period; the others before it
_SHARE_LAPSING = 0.4


@dataclass(frozen=True)
class Customers:
    """Arrays with one row a user; days count from the start of the world.

    The shop sees `age`, `region`, `plan`, `interest` and `joined_day`; the rest shows only in what users do.
    """

    joined_day: NDArray[np.float64]  # negative: before the world starts
    age: NDArray[np.int64]  # years
    region: NDArray[np.int64]  # position in REGIONS
    plan: NDArray[np.int64]  # position in PLANS
    interest: NDArray[np.int64]  # position in TOPICS: what the user named on joining
    order_rate: NDArray[np.float64]  # orders a day, before season and lapse
    activity: NDArray[np.float64]  # order rate against the median user's, in standard deviations
    mean_amount: NDArray[np.float64]  # currency units an order
    taste: NDArray[np.float64]  # (n_users, n_topics), standard normal
    openness: NDArray[np.float64]  # readiness to take any offer up, standard normal
    lapse_day: NDArray[np.float64]  # from this day on the user hardly comes; inf: never

    def __len__(self) -> int:
        return len(self.age)

    def take(self, rows: NDArray[np.intp]) -> "Customers":
        """The users at these positions, in this order; a position may stand there many times."""
        return Customers(**{part.name: getattr(self, part.name)[rows] for part in fields(self)})

    @property
    def youth(self) -> NDArray[np.float64]:
        """Standardised, 1.5 at 20 years and -1.5 at 80."""
        return (50 - self.age) / 20

    @property
    def start_day(self) -> NDArray[np.float64]:
        """The first day on which the world sees the user."""
        return np.maximum(self.joined_day, 0.0)

    def seen_from(self, day: float) -> "Customers":
        """The same customers to a world that begins to look at them on that day."""
        return replace(self, joined_day=np.maximum(self.joined_day, day))


def draw_customers(n_users: int, n_days: int, rng: np.random.Generator, haste: float = 1.0) -> Customers:
    """Customers of a period of `n_days`; premium users spend more, the rest is independent.

    Parameters
    ----------
    haste : float
        How many times as often as usual everybody orders.
    """
    joins_later = rng.random(n_users) < _SHARE_JOINING_LATER
    joined_day = np.where(joins_later, rng.uniform(0, 0.3 * n_days, n_users), -rng.uniform(0, 730, n_users))
    spending = rng.standard_normal(n_users)
    standing = spending + rng.standard_normal(n_users)
    rate = _ORDERS_PER_DAY * np.exp(_RATE_SPREAD * rng.standard_normal(n_users))
    rate = np.clip(rate, _SLOWEST, _FASTEST)
    taste = rng.standard_normal((n_users, len(TOPICS)))
    named = np.argmax(_CANDOUR * taste + rng.gumbel(size=taste.shape), axis=1)
    lapses = rng.random(n_users) < _SHARE_LAPSING
    return Customers(
        joined_day=joined_day,
        age=np.clip(np.rint(rng.normal(46, 15, n_users)), 18, 85).astype(np.int64),
        region=rng.choice(len(REGIONS), n_users, p=_REGION_SHARES),
        plan=np.searchsorted(np.quantile(standing, _PLAN_CUTS), standing).astype(np.int64),
        interest=named,
        order_rate=haste * rate,
        activity=np.log(rate / _ORDERS_PER_DAY) / _RATE_SPREAD,
        mean_amount=_MEDIAN_AMOUNT * np.exp(_AMOUNT_SPREAD * spending),
        taste=taste,
        openness=rng.standard_normal(n_users),
        lapse_day=np.where(lapses, rng.uniform(0, n_days, n_users), np.inf),
    )
