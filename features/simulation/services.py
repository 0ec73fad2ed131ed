"""The simulated services: what each costs, and how users answer to it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.simulation.customers import REGIONS, TOPICS

FACTORS = ("average", "taste", "openness", "activity", "youth", "lapsed", "local")  # columns of coefficients


@dataclass(frozen=True)
class Role:
    """A way in which services work: coefficients of FACTORS, and what it costs in currency units.

    `uptake` gives the log-odds that an offer is taken up. `direct` is the relative change in orders of
    everybody who is shown the service, `through` the further change of those who take it up.
    """

    uptake: tuple[float, ...]
    direct: tuple[float, ...]
    through: tuple[float, ...]
    unit_cost: float
    contact_cost: float


ROLES = {
    # Pleasant and fairly cheap: those who like the topic take it up and come back.
    "habit": Role(
        uptake=(-1.6, 0.7, 0.4, 0.1, 0.4, -0.3, 0.0),
        direct=(-0.06, 0.0, 0.06, 0.0, 0.0, 0.0, 0.0),
        through=(1.2, 0.8, 0.0, -0.2, 0.6, 0.0, 0.0),
        unit_cost=3.0,
        contact_cost=0.15,
    ),
    # Wins rare and lapsed buyers back, and gives the busy ones a reason to wait.
    "winback": Role(
        uptake=(-2.0, 0.4, 0.3, -0.3, 0.0, 0.8, 0.0),
        direct=(-0.06, 0.0, 0.06, 0.0, 0.0, 0.0, 0.0),
        through=(0.7, 0.2, 0.0, -0.9, 0.3, 3.2, 0.0),
        unit_cost=1.5,
        contact_cost=0.2,
    ),
    # Dear and loved by those who would have ordered anyway: the trap of ranking by response.
    "treat": Role(
        uptake=(-0.8, 0.5, 0.4, 0.3, 0.2, 0.0, 0.0),
        direct=(-0.06, 0.0, 0.06, 0.0, 0.0, 0.0, 0.0),
        through=(0.85, 0.2, 0.0, -0.4, 0.0, 0.0, 0.0),
        unit_cost=3.5,
        contact_cost=0.15,
    ),
    # Works by being shown, hardly ever used; a reminder to some and a nuisance to others.
    "reminder": Role(
        uptake=(-3.2, 0.2, 0.4, 0.0, 0.0, 0.0, 0.0),
        direct=(0.24, 0.04, 0.06, -0.1, 0.2, 0.12, 0.0),
        through=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        unit_cost=0.5,
        contact_cost=0.4,
    ),
    # A partner of one region: very good there, a nuisance elsewhere.
    "niche": Role(
        uptake=(-2.3, 0.3, 0.3, 0.0, 0.2, 0.0, 1.1),
        direct=(-0.1, 0.0, 0.06, 0.0, 0.0, 0.0, 0.45),
        through=(0.3, 0.2, 0.0, 0.0, 0.3, 0.0, 1.2),
        unit_cost=2.5,
        contact_cost=0.15,
    ),
}
_EVERY_NTH_IS_RARE = 6
_RARE_SHARE = 0.03  # of the offers that a service of equal share would get
_POPULARITY_SPREAD = 0.4
_BASE_SPREAD = 0.2  # of the log-odds of uptake between services of one role
_STRENGTH_SPREAD = 0.25  # of the logarithm of the effects between services of one role


@dataclass(frozen=True)
class Offering:
    """Arrays with one row a service, in the order of `service_id`."""

    role: NDArray[np.int64]  # position in ROLES
    topic: NDArray[np.int64]  # position in TOPICS
    home_region: NDArray[np.int64]  # position in REGIONS; the region that counts as local
    uptake: NDArray[np.float64]  # (n_services, n_factors), of the log-odds
    direct: NDArray[np.float64]  # (n_services, n_factors), relative to the orders without an offer
    through: NDArray[np.float64]  # the same, once the service is taken up
    unit_cost: NDArray[np.float64]  # currency units each time it is used
    contact_cost: NDArray[np.float64]  # currency units each time it is offered
    is_rare: NDArray[np.bool_]  # pilots that are seldom offered
    popularity: NDArray[np.float64]  # weight in the logging policy

    def __len__(self) -> int:
        return len(self.role)

    @property
    def role_names(self) -> list[str]:
        return [list(ROLES)[role] for role in self.role]


def draw_offering(n_services: int, rng: np.random.Generator) -> Offering:
    """Services whose roles and topics are spread evenly; one in six is rare."""
    role = rng.permutation(np.arange(n_services) % len(ROLES))
    templates = list(ROLES.values())
    strength = np.exp(_STRENGTH_SPREAD * rng.standard_normal(n_services))
    uptake = np.array([template.uptake for template in templates])[role]
    audience = np.ones((n_services, len(FACTORS)))
    audience[:, FACTORS.index("youth")] = rng.choice([-1.0, 1.0], n_services)  # for the old or the young
    uptake[:, 0] += _BASE_SPREAD * rng.standard_normal(n_services)
    is_rare = np.zeros(n_services, bool)
    is_rare[rng.permutation(n_services)[: n_services // _EVERY_NTH_IS_RARE]] = True
    popularity = np.exp(_POPULARITY_SPREAD * rng.standard_normal(n_services))
    price = np.exp(0.15 * rng.standard_normal(n_services))
    return Offering(
        role=role,
        topic=rng.permutation(np.arange(n_services) % len(TOPICS)),
        home_region=rng.integers(0, len(REGIONS), n_services),
        uptake=uptake * audience,
        direct=np.array([template.direct for template in templates])[role] * strength[:, None] * audience,
        through=np.array([template.through for template in templates])[role] * strength[:, None] * audience,
        unit_cost=np.round(np.array([template.unit_cost for template in templates])[role] * price, 2),
        contact_cost=np.array([template.contact_cost for template in templates])[role],
        is_rare=is_rare,
        popularity=np.where(is_rare, _RARE_SHARE, 1.0) * popularity,
    )
