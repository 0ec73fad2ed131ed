"""What is compared on what: data sets, how many seeds, with the uptake or without, and by which learners."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.uplift.tasks import DEVELOPMENT_SEEDS, REPORTED_SEEDS

LEARNERS: dict[str, tuple[str, ...]] = {
    "perkwise": ("perkwise",),
    "plain": ("best-constant", "popularity", "response", "random", "pooled-s"),
    "sklift": ("sklift-solo", "sklift-solo-interaction", "sklift-two", "sklift-two-ddr"),
    "causalml": ("causalml-s", "causalml-t", "causalml-x", "causalml-r", "causalml-dr"),
    "econml": (
        "econml-s",
        "econml-x",
        "econml-domain",
        "econml-dr",
        "econml-linear-dr",
        "econml-causal-forest",
    ),
}
OURS = "perkwise"
RULES = ("best-constant", "popularity", "response", "random")  # no model of effects
PEERS = tuple(name for library in ("sklift", "causalml", "econml") for name in LEARNERS[library])
SEEDS = {"reported": REPORTED_SEEDS, "development": DEVELOPMENT_SEEDS}


@dataclass(frozen=True)
class DataSet:
    """A family of tasks, and how it is used."""

    family: str
    label: str
    n_seeds: int
    uptake: bool | None = None  # given, withheld, or (None) not there
    leaves_out: tuple[str, ...] = ()  # learners that are too slow here
    few_seeds: tuple[tuple[str, int], ...] = ()  # slow learners that run on fewer seeds
    named: bool = False  # run only where it is named: more of the same, for who wants it
    shares: bool = True  # whether the oracle gains enough to be a measure; in trials it may gain nothing

    @property
    def name(self) -> str:
        """Names the family, and the uptake where it might be there or not."""
        return (
            self.family
            if self.uptake is None
            else f"{self.family}/{'uptake' if self.uptake else 'no-uptake'}"
        )

    def learners(self) -> Iterator[tuple[str, str]]:
        """Library and learner, in the order in which they run."""
        for library, names in LEARNERS.items():
            for name in names:
                if name not in self.leaves_out and not (name == "response" and not self.uptake):
                    yield library, name

    def seeds(self, kind: str, learner: str, most: int | None = None) -> Sequence[int]:
        n = dict(self.few_seeds).get(learner, self.n_seeds)
        return SEEDS[kind][: min(n, most or n)]


_FOREST = ("econml-causal-forest",)
_TWICE = (*_FOREST, "sklift-two", "econml-x")  # as causalml's T and X
_SLOW = (
    *_TWICE,
    "sklift-two-ddr",
    "causalml-t",
    "causalml-dr",
    "econml-s",
    "econml-domain",
    "econml-linear-dr",
)
_SLOW_FOR_12 = (*_SLOW, "sklift-solo", "causalml-r", "econml-dr")
_SLOW_FOR_35 = (*_SLOW_FOR_12, "causalml-x")
_FOREST_ON_FEW = (("econml-causal-forest", 5),)
PLAN = (
    DataSet("hillstrom-visit", "Hillstrom, visit", 20, few_seeds=_FOREST_ON_FEW),
    DataSet("few", "trials of 1 to 4 arms", 12, shares=False, leaves_out=_FOREST),
    DataSet("uptake-12", "12 services, uptake logged", 5, True, leaves_out=_SLOW_FOR_12),
    DataSet("uptake-12", "12 services, uptake withheld", 5, False, leaves_out=_SLOW_FOR_12),
    DataSet("direct-12", "12 services, effect not through uptake", 5, True, leaves_out=_SLOW_FOR_12),
    DataSet("uptake-35", "35 services, uptake logged", 5, True, _SLOW_FOR_35),
    DataSet("uptake-35", "35 services, uptake withheld", 5, False, _SLOW_FOR_35),
    DataSet("starbucks-repurchase", "Starbucks rewards, repurchase", 3, True, leaves_out=_SLOW_FOR_12),
    DataSet("starbucks-margin", "Starbucks rewards, net margin (USD)", 3, True, leaves_out=_SLOW_FOR_12),
    DataSet("hillstrom-conversion", "Hillstrom, conversion", 20, leaves_out=_TWICE),
    DataSet("hillstrom-spend", "Hillstrom, spend (USD)", 20, leaves_out=_TWICE),
    DataSet("shop-12", "simulated shop, 12 services", 5, True, leaves_out=_SLOW_FOR_12, named=True),
    DataSet("direct-35", "35 services, effect not through uptake", 5, True, _SLOW_FOR_35, named=True),
    DataSet("uptake-12-margin", "12 services, margin, uptake logged", 5, True, _SLOW_FOR_12, named=True),
    DataSet("shop-35", "simulated shop, 35 services", 5, True, _SLOW_FOR_35, named=True),
)
