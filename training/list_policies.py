"""Policies of lists on logged rows: the arrays that `training.evaluation.list_value` asks for."""

from collections import Counter
from dataclasses import dataclass
from math import factorial, perm

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from offers.choice import attraction, choice_effort, count_alike
from offers.ranking import is_known
from offers.settings import DecisionSettings
from offers.types import Estimates
from training.dataset import NOTHING, SEVERAL, Dataset
from training.evaluation.list_value import ListLog, ListPolicy

Floats = NDArray[np.float64]
Lists = NDArray[np.intp]  # (n, longest) catalogue positions, best first; -1 pads

_DRAWS = 16  # of random lists for each row: they average what the model expects, without bias


@dataclass(frozen=True)
class ListCase:
    """Logged rows, and what one set of models expects of any list on them.

    Attributes
    ----------
    log : ListLog
    shown : int array of shape (n, longest)
        Services in the order shown, padded with −1.
    may : bool array of shape (n, n_services)
        What could be offered, with a sound estimate.
    uptake, gain : arrays of shape (n, n_services)
        Of each service alone: probability of a use; uplift in margin less the cost of use. 0: unknown.
    baseline : array of shape (n,)
        Expected margin with nothing shown.
    choice_load : array of shape (n,), optional
        Of each row's user; None: that of `decision`.
    """

    log: ListLog
    shown: Lists
    may: NDArray[np.bool_]
    uptake: Floats
    gain: Floats
    baseline: Floats
    catalog: Catalog
    decision: DecisionSettings
    choice_load: Floats | None = None

    @classmethod
    def of(
        cls,
        rows: Dataset,
        estimates: Estimates,
        baseline: Floats,
        may: NDArray[np.bool_],
        decision: DecisionSettings,
        unit: str,
        choice_load: Floats | None = None,
    ) -> "ListCase":
        """Of held-out rows, whose propensities of lists must be logged.

        Raises
        ------
        ValueError
            Where the propensity of a list of several is an estimate: it is not that of the list.
        """
        n_estimated = int(((rows.service == SEVERAL) & rows.is_estimated).sum())
        if n_estimated:
            raise ValueError(
                f"exposures must name the slate_propensity of every list of several, {n_estimated:,} do not. "
                "Log it: an estimate tells that some list was shown, not which."
            )
        known = is_known(estimates)
        uptake = np.where(known, estimates.uptake, 0.0)
        gain = np.where(known, estimates.uplift_margin, 0.0) - uptake * rows.catalog.unit_cost
        shown = shown_lists(rows)
        worth, _ = _worth(shown, uptake, gain, rows.catalog, decision, choice_load)
        log = ListLog(rows.user, rows.net_margin(), rows.slate_propensity, baseline + worth, unit)
        return cls(log, shown, may & known, uptake, gain, baseline, rows.catalog, decision, choice_load)

    def __len__(self) -> int:
        return len(self.log)

    @property
    def length(self) -> NDArray[np.intp]:
        """Services shown, shape (n,)."""
        return (self.shown >= 0).sum(axis=1)

    def policy(self, lists: Lists) -> ListPolicy:
        """The policy that shows these lists, one a row."""
        worth, parts = _worth(lists, self.uptake, self.gain, self.catalog, self.decision, self.choice_load)
        longest = max(lists.shape[1], self.shown.shape[1])
        theirs, ours = _padded(self.shown, longest), _padded(lists, longest)
        length = (ours >= 0).sum(axis=1)
        orders = np.array([factorial(n) for n in range(longest + 1)], dtype=float)
        same = (np.sort(theirs, axis=1) == np.sort(ours, axis=1)).all(axis=1)
        return ListPolicy(
            shows=(theirs == ours).all(axis=1).astype(float),
            expected=self.baseline + worth,
            any_order=same / orders[length],
            part=self._part(lists, parts),
            impossible=self.is_impossible(lists).astype(float),
            length=length.astype(float),
        )

    def random_lists(self, length: NDArray[np.intp], rng: np.random.Generator) -> ListPolicy:
        """The policy that draws uniformly among the lists of each row's length of what may be offered."""
        n_may = self.may.sum(axis=1)
        length = np.minimum(length, n_may)
        n_lists = np.array([perm(k, n) for k, n in zip(n_may.tolist(), length.tolist())], dtype=float)
        may_be = np.take_along_axis(self.may, np.maximum(self.shown, 0), axis=1) | (self.shown < 0)
        shows = np.where((self.length == length) & may_be.all(axis=1), 1 / n_lists, 0.0)
        drawn = [self.policy(self._draw(length, rng)) for _ in range(_DRAWS)]
        return ListPolicy(
            shows=shows,
            expected=np.mean([one.expected for one in drawn], axis=0),
            any_order=shows,
            part=np.mean([one.part for one in drawn], axis=0),
            impossible=np.mean([one.impossible for one in drawn], axis=0),
            length=length.astype(float),
        )

    def nothing(self) -> ListPolicy:
        """The policy that never shows anything."""
        return self.policy(np.full((len(self), 1), NOTHING))

    def is_impossible(self, lists: Lists) -> NDArray[np.bool_]:
        """Lists that the log could not have shown, as far as can be seen: shape (n,).

        Longer than any that it holds, or with a service that none of its lists holds (of one service, and
        of several, each for itself).
        """
        length = (lists >= 0).sum(axis=1)
        return (length > self.length.max()) | self._unlogged(lists).any(axis=1)

    def impossible_by_cause(self, lists: Lists) -> dict[str, int]:
        """How many of these lists the log could not have shown, by cause, the commonest first."""
        causes: Counter[str] = Counter()
        length, longest = (lists >= 0).sum(axis=1), int(self.length.max())
        too_long = int((length > longest).sum())
        if too_long:
            causes[f"longer than {longest}, the longest logged"] = too_long
        row, place = np.nonzero(self._unlogged(lists))
        for position, several in zip(lists[row, place].tolist(), (length[row] > 1).tolist()):
            where = "in a list of several" if several else "alone"
            causes[f"{self.catalog.services[position].name} was never shown {where}"] += 1
        return dict(causes.most_common())

    def _unlogged(self, lists: Lists) -> NDArray[np.bool_]:
        """(n, longest) places whose service no logged list of that kind (one, several) holds."""
        several = self.length > 1
        logged = np.zeros((2, len(self.catalog)), dtype=bool)
        for kind, rows in enumerate((~several, several)):
            held = self.shown[rows]
            logged[kind, held[held >= 0]] = True
        kind_of = ((lists >= 0).sum(axis=1) > 1).astype(np.intp)[:, None]
        return (lists >= 0) & ~logged[kind_of, np.maximum(lists, 0)]

    def _part(self, lists: Lists, parts: Floats) -> Floats:
        """c(what was shown): of one service its part in the list, of nothing the rest, of several 0."""
        alone = (self.shown[:, :1] == lists) & (lists >= 0)
        of_service = np.where(alone, parts, 0.0).sum(axis=1)
        return np.select([self.length == 0, self.length == 1], [1 - parts.sum(axis=1), of_service], 0.0)

    def _draw(self, length: NDArray[np.intp], rng: np.random.Generator) -> Lists:
        longest = max(int(length.max(initial=0)), 1)
        order = np.argsort(np.where(self.may, rng.random(self.may.shape), 2.0), axis=1)[:, :longest]
        return np.where(np.arange(order.shape[1]) < length[:, None], order, NOTHING)


def popular_lists(popularity: Floats, may: NDArray[np.bool_], length: NDArray[np.intp]) -> Lists:
    """The most popular services that may be offered, as many as each row's length.

    >>> popular_lists(np.array([0.1, 0.3, 0.2]), np.array([[True, True, False]]), np.array([2])).tolist()
    [[1, 0]]
    """
    longest = max(int(length.max(initial=0)), 1)
    order = np.argsort(-np.where(may, popularity, -np.inf), axis=1, kind="stable")[:, :longest]
    return np.where(np.arange(order.shape[1]) < np.minimum(length, may.sum(axis=1))[:, None], order, NOTHING)


def shown_lists(rows: Dataset) -> Lists:
    """What was shown as padded lists, of one service and of none too."""
    longest = 1 if rows.listed is None else max(rows.listed.shape[1], 1)
    lists = np.full((len(rows), longest), NOTHING, dtype=np.intp)
    lists[:, 0] = np.maximum(rows.service, NOTHING)
    if rows.listed is not None:
        several = rows.service == SEVERAL
        lists[several] = rows.listed[several]
    return lists


def _worth(
    lists: Lists,
    uptake: Floats,
    gain: Floats,
    catalog: Catalog,
    decision: DecisionSettings,
    choice_load: Floats | None,
) -> tuple[Floats, Floats]:
    """What the choice model expects a list to add after costs, (n,), and each place's part, (n, longest).

    A service earns in a list P(taken in the list) / P(taken alone) of what it earns alone, and costs its
    contact either way.
    """
    shown, places = lists >= 0, np.maximum(lists, 0)
    p = np.take_along_axis(uptake, places, axis=1)
    odds = np.where(shown, attraction(p), 0.0)
    weight = _effort(lists, catalog, decision, choice_load) + odds.sum(axis=1)
    parts = np.where(shown, (1 + attraction(p)) / weight[:, None], 0.0)
    contact = np.where(shown, catalog.contact_cost[places], 0.0)
    return (parts * np.take_along_axis(gain, places, axis=1) - contact).sum(axis=1), parts


def _effort(lists: Lists, catalog: Catalog, decision: DecisionSettings, choice_load: Floats | None) -> Floats:
    load = decision.choice_load if choice_load is None else choice_load
    length = np.maximum((lists >= 0).sum(axis=1), 1)
    n_alike = count_alike(np.where(lists >= 0, catalog.category[np.maximum(lists, 0)], -1))
    effort = choice_effort(length, load, n_alike, decision.similarity_load)
    return np.asarray(effort, dtype=float)


def _padded(lists: Lists, longest: int) -> Lists:
    return np.pad(lists, ((0, 0), (0, longest - lists.shape[1])), constant_values=NOTHING)
