"""The figures of a report, as plain frozen values; `Evaluation.to_json` is what other programs read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.choice_load import ChoiceLoads
from training.evaluation.balance import Balance
from training.evaluation.bootstrap import Interval
from training.evaluation.checks import Finding
from training.evaluation.curves import Reliability
from training.evaluation.importances import Importances
from training.evaluation.list_value import Change, ListFigures
from training.evaluation.log_counts import LogCounts
from training.evaluation.uplift_calibration import UpliftCalibration
from training.suspicions.suspicion import Suspicion

Floats = NDArray[np.float64]
Outcome = Literal["margin", "repurchase"]

PERKWISE = "perkwise"
BASELINES = ("best_constant", "response", "popularity", "random", "nothing")
TOP = 0.3
_GAINS_IN_JSON = ("best_constant", "response", "random")


@dataclass(frozen=True)
class Notes:
    """What a reader must know of a report that the held-out rows do not tell."""

    title: str  # of the data
    n_train: int  # exposures the models learned from
    n_lists: int  # lists of several among the training rows
    n_lists_learned: int  # of these, those that are counted in n_train
    log: LogCounts
    dropped: Mapping[str, int]  # reason: exposures left out before the split
    uptake_days: int
    repurchase_days: int
    margin_cap_quantile: float  # 1: no cap
    margin_cap: float  # currency units; what that quantile was
    propensities: Literal["logged", "estimated"]
    bundle: str  # content hash of the models
    data_hash: str
    made_at: str
    command: str  # repeats the report
    version: str  # of Perkwise
    suspicions: tuple[Suspicion, ...] = ()  # of the rows that the models learned from
    default_load: float = 0.25  # of choice, where the log taught none
    choice_loads: ChoiceLoads | None = None  # learned by value tier; None: the default stands


@dataclass(frozen=True)
class PolicyFigures:
    """The value of one policy by five estimators, and how much of the log speaks of it."""

    doubly_robust: Interval
    ips: Interval
    snips: Interval
    switch: Interval
    shrunk: Interval  # DRos
    threshold: float  # of switch: greater weights count 0
    strength: float  # of shrunk: s w / (w^2 + s) in place of w
    matched: float  # share of exposures on which the log showed what the policy may show
    effective_n: float
    largest_weight: float
    carried: Floats  # (21,) share of all weight that the heaviest 0, 5, … 100 % of those exposures carry
    n_offers: float  # offers an exposure: the probability of not showing nothing


@dataclass(frozen=True)
class Curve:
    """A Qini curve per user over the share targeted, with its band."""

    share: Floats
    gain: Floats
    band_share: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Deciles:
    """Predicted and realised uplift in equal bins of the prediction, highest first."""

    predicted: Floats
    realised: tuple[Interval, ...]


@dataclass(frozen=True)
class ServiceFigures:
    """What the held-out rows say of one service; None where they are too few to say anything."""

    service_id: str
    name: str
    n: int  # held-out exposures that offered it alone
    n_nothing: int  # held-out exposures to compare with
    chosen: float  # share of exposures at which Perkwise would offer it
    uptake_rate: float | None = None
    cost: float | None = None  # currency units an offer
    reliability: Reliability | None = None  # of uptake
    qini: Interval | None = None
    auuc: Interval | None = None
    uplift_at_top: Interval | None = None  # of the share TOP ranked highest, before costs
    autoc: Interval | None = None
    curve: Curve | None = None
    uplift: Interval | None = None  # outcome's unit an offer, before costs
    deciles: Deciles | None = None
    net: Interval | None = None  # uplift less cost; of margin only
    roi: Interval | None = None  # (uplift in margin - cost) / cost; none without a cost
    learned: Interval | None = None  # average uplift as the models have it from the training rows
    cold: bool = False  # shown there so seldom that what is said of it comes from the others

    def to_json(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "uptake_ece": self.reliability.error() if self.reliability else None,
            "qini": self.qini.value if self.qini else None,
            "qini_low": self.qini.low if self.qini else None,
            "qini_high": self.qini.high if self.qini else None,
            "auuc": self.auuc.value if self.auuc else None,
            "uplift_mean": self.uplift.value if self.uplift else None,
            "uplift_low": self.uplift.low if self.uplift else None,
            "uplift_high": self.uplift.high if self.uplift else None,
            "roi": self.roi.value if self.roi else None,
            "uplift_learned": self.learned.value if self.learned else None,
            "uplift_learned_low": self.learned.low if self.learned else None,
            "uplift_learned_high": self.learned.high if self.learned else None,
            "cold": self.cold,
        }


@dataclass(frozen=True)
class Gains:
    """Gain at each of some budgets, with its band."""

    gain: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class CostFigures:
    """What each budget buys, all services together; per exposure, before costs."""

    cost: Literal["money", "offers"]  # what a budget counts; offers where nothing costs money or earns it
    budgets: Floats  # from 0 to where there is nothing left to spend on
    targeted: Gains
    untargeted: Gains  # the best services on average, offered to a random part
    added: Interval  # by targeting, averaged over the budgets
    worthwhile: float | None  # budget at which one more euro brings only one; of money


@dataclass(frozen=True)
class ArmFigures:
    """One arm of the held-out rows: nothing, one service, or lists of several."""

    label: str
    n: int
    n_users: int
    uptake_rate: float | None  # of what was shown; None for nothing and for lists
    mean_outcome: float  # as it came, before costs; arms compare only where propensities are equal
    propensity: tuple[float, float, float]  # smallest, median, largest


@dataclass(frozen=True)
class LengthFigures:
    """What lists of one length are worth."""

    length: int
    ours: ListFigures  # Perkwise, with this many services at most
    drawn: ListFigures  # exactly so many, drawn at random from what may be offered
    n_logged: int  # held-out rows with a list of this length


@dataclass(frozen=True)
class ListReport:
    """What policies of lists are worth on the held-out rows, lists of several among them."""

    policies: Mapping[str, ListFigures]
    changes: Mapping[str, Change]  # Perkwise's lists in place of each other policy's
    lengths: tuple[LengthFigures, ...]  # from none on; empty where the log's lengths do not vary
    n: int
    n_several: int  # rows that showed several services
    longest: int  # of the log
    impossible: Mapping[str, int]  # why Perkwise's list could not have been logged: on so many rows

    def to_json(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "n_several": self.n_several,
            "policies": {name: figures.to_json() for name, figures in self.policies.items()},
            "changes": {f"over_{name}": change.to_json() for name, change in self.changes.items()},
            "by_length": [
                {
                    "length": one.length,
                    "n_logged": one.n_logged,
                    "perkwise": one.ours.to_json(),
                    "random": one.drawn.to_json(),
                }
                for one in self.lengths
            ],
            "impossible": dict(self.impossible),
        }


@dataclass(frozen=True)
class Evaluation:
    """Every figure of an offline report on held-out exposures."""

    outcome: Outcome
    unit: str  # of one value: a currency, or "repurchases"
    level: float
    n_test: int
    n_users: int
    period: tuple[str, str]  # first and last day of the held-out rows
    policies: Mapping[str, PolicyFigures]
    gains: Mapping[str, Interval]  # Perkwise over each other policy, paired
    best_constant: str | None  # the name of the service it shows, mostly; None: nothing
    services: tuple[ServiceFigures, ...]
    arms: tuple[ArmFigures, ...]
    reliability: Reliability | None  # of uptake, all services together
    balance: Balance
    notes: Notes
    oracle_share: Mapping[str, float] | None  # of the oracle's gain over nothing; where the truth is known
    costs: CostFigures | None = None  # None where no offer is expected to gain anything
    calibration: UpliftCalibration | None = None  # of uplift, all services together
    findings: tuple[Finding, ...] = ()  # every check of log and models
    importances: Importances | None = None  # of columns for the value of offers
    lists: ListReport | None = None  # None where the log does not name the propensities of its lists

    @property
    def alerts(self) -> tuple[Finding, ...]:
        """Findings that a sound log and sound models would hardly ever show."""
        return tuple(finding for finding in self.findings if finding.verdict == "alert")

    @property
    def refusal(self) -> Finding | None:
        """Why differences here may not be called uplift; None where they may."""
        return next((finding for finding in self.findings if finding.refuses), None)

    def to_json(self, report: str | None = None) -> dict[str, Any]:
        """The figures other programs read; `report` is the path of the page, if one was written."""
        return {
            "outcome": self.outcome,
            "unit": self.unit,
            "n_test": self.n_test,
            "policies": {name: _policy_json(figures) for name, figures in self.policies.items()},
            "lists": self.lists and self.lists.to_json(),
            "choice_load": self.notes.choice_loads and self.notes.choice_loads.to_json(),
            "gain": {f"over_{name}": _interval_json(self.gains[name]) for name in _GAINS_IN_JSON},
            "services": {figures.service_id: figures.to_json() for figures in self.services},
            "importances": self.importances
            and self.importances.to_json([figures.service_id for figures in self.services]),
            "checks": [finding.to_json() for finding in self.findings],
            "report": report,
        }


def _interval_json(interval: Interval) -> dict[str, float | None]:
    return {
        name: number if np.isfinite(number) else None
        for name, number in (("value", interval.value), ("low", interval.low), ("high", interval.high))
    }


def _policy_json(figures: PolicyFigures) -> dict[str, Any]:
    return {
        **_interval_json(figures.doubly_robust),
        "ips": _interval_json(figures.ips),
        "snips": _interval_json(figures.snips),
    }
