"""The lists that the rules of lists allow: how many there are of each length, and one of them at random.

Counting goes by generating polynomials: the coefficient of x^n is the number of sets of n services.
Services in the same groups are alike, so j of a class of c are chosen in C(c, j) ways; the classes are
taken one after another, with what each group may still hold as the state, and a group that is through is
forgotten. Groups without a common service so become factors of a product of truncated binomials, and
those with one cost as many states as their overlap has, not as many as there are lists.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import comb, factorial

import numpy as np

from offers.types import AtMost

MOST_STATES = 20_000  # of the groups at once; more would make a decision wait

Class = tuple[tuple[int, ...], int]  # the groups of some services, and how many services there are


@dataclass(frozen=True)
class FeasibleLists:
    """The lists, in every order, of eligible services that hold all required ones and no group too often."""

    eligible: tuple[int, ...]  # catalogue positions, rising
    required: tuple[int, ...]  # in every list
    groups: tuple[AtMost, ...]  # those that bind; their services are eligible
    longest: int

    @classmethod
    def of(
        cls,
        eligible: Collection[int],
        longest: int,
        at_most: Sequence[AtMost] = (),
        must_show: Sequence[int] = (),
    ) -> "FeasibleLists":
        """The lists of at most ``longest`` of the eligible services.

        Parameters
        ----------
        must_show : sequence of int
            In every list, as far as they are eligible, the length allows it and the groups do; the
            first come first.

        Examples
        --------
        >>> lists = FeasibleLists.of([0, 1, 2], 2, at_most=[AtMost((0, 1), 1)])
        >>> [lists.n_sets(n) for n in lists.lengths]
        [3, 2]
        """
        known = set(eligible)
        groups = []
        for group in at_most:
            services = tuple(sorted(known.intersection(group.services)))
            if len(services) > group.most:
                groups.append(AtMost(services, group.most))
        required: list[int] = []
        for service in must_show:
            tried = {*required, service}
            if (
                service in known
                and len(tried) <= longest
                and all(len(tried.intersection(group.services)) <= group.most for group in groups)
            ):
                required = sorted(tried)
        return cls(tuple(sorted(known)), tuple(required), tuple(groups), longest)

    @cached_property
    def is_free(self) -> bool:
        """Does no rule bind?"""
        return not self.groups and not self.required

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """The lengths, from 1, of which there is a list."""
        if self.is_free:
            return tuple(range(1, min(self.longest, len(self.eligible)) + 1))
        return tuple(n for n in range(1, self.longest + 1) if self.n_sets(n))

    @cached_property
    def at_position(self) -> tuple[float, ...]:
        """Where no rule binds: P(a service is at each position, from 1) of a list drawn uniformly."""
        n, k = len(self.lengths), len(self.eligible)
        return tuple(max(n - position, 0) / n / k for position in range(self.longest))

    @cached_property
    def in_list(self) -> float:
        """Where no rule binds: P(a service is in a list drawn uniformly)."""
        n, k = len(self.lengths), len(self.eligible)
        return n * (n + 1) // 2 / n / k

    def n_sets(self, n: int, holding: Collection[int] = ()) -> int:
        """How many sets of n services are allowed, or of them those that hold the given services."""
        if self.is_free and not holding:
            return comb(len(self.eligible), n) if n <= self.longest else 0
        held = {*self.required, *holding}
        if n < len(held) or n > self.longest or not held.issubset(self._members):
            return 0
        if not self.groups:
            return comb(len(self.eligible) - len(held), n - len(held))
        room = [group.most - len(held.intersection(group.services)) for group in self.groups]
        if min(room) < 0:
            return 0
        sizes: dict[tuple[int, ...], int] = {}
        for service, signature in self._signature.items():
            if service not in held:
                sizes[signature] = sizes.get(signature, 0) + 1
        return _n_sets(tuple(sorted(sizes.items())), tuple(room), self.longest)[n - len(held)]

    def n_lists(self, n: int) -> int:
        """How many lists of n services are allowed: every order counts."""
        return self.n_sets(n) * factorial(n)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[int, ...]:
        """One of the lists of n services, each with the same probability; n is one of ``lengths``."""
        if self.is_free:
            return tuple(rng.choice(np.array(self.eligible), size=n, replace=False).tolist())
        shown: list[int] = []
        while len(shown) < n:
            left = [service for service in self.eligible if service not in shown]
            weights = np.cumsum([self.n_sets(n, [*shown, service]) for service in left], dtype=np.float64)
            shown.append(left[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))])
        return tuple(shown)

    @cached_property
    def _members(self) -> frozenset[int]:
        return frozenset(self.eligible)

    @cached_property
    def _signature(self) -> dict[int, tuple[int, ...]]:
        """The groups of each eligible service."""
        return {
            service: tuple(place for place, group in enumerate(self.groups) if service in group.services)
            for service in self.eligible
        }


def check_countable(at_most: Sequence[AtMost], n_services: int, longest: int) -> None:
    """Can the lists under these rules be counted in the time of a decision, whoever is eligible?

    Raises
    ------
    ValueError
        Where too many groups share services.
    """
    FeasibleLists.of(range(n_services), longest, at_most).n_sets(1)


@lru_cache(maxsize=65_536)
def _n_sets(classes: tuple[Class, ...], room: tuple[int, ...], longest: int) -> tuple[int, ...]:
    """Sets of 0 … longest services of these classes that leave no group's room below 0."""
    ordered = _side_by_side(classes)
    last_of = {group: place for place, (signature, _) in enumerate(ordered) for group in signature}
    states = {room: (1, *(0,) * longest)}
    for place, (signature, size) in enumerate(ordered):
        through = [group for group in signature if last_of[group] == place]
        after: dict[tuple[int, ...], list[int]] = {}
        for left, counts in states.items():
            for chosen in range(min([size, longest, *(left[group] for group in signature)]) + 1):
                still = list(left)
                for group in signature:
                    still[group] -= chosen
                for group in through:
                    still[group] = 0
                total = after.setdefault(tuple(still), [0] * (longest + 1))
                ways = comb(size, chosen)
                for n in range(longest + 1 - chosen):
                    total[n + chosen] += ways * counts[n]
        if len(after) > MOST_STATES:
            raise ValueError(
                f"Groups of which a list holds at most so many must overlap so little that their lists can "
                f"be counted in {MOST_STATES:,} steps, got {len(room)} groups that need more. "
                "Let fewer services stand in several groups."
            )
        states = {left: tuple(total) for left, total in after.items()}
    totals = np.zeros(longest + 1, dtype=object)
    for counts in states.values():
        totals += np.array(counts, dtype=object)
    return tuple(totals.tolist())


def _side_by_side(classes: tuple[Class, ...]) -> list[Class]:
    """Classes in an order in which a group, once begun, is soon through."""
    left, begun, ordered = list(classes), set[int](), list[Class]()
    while left:
        following = min(left, key=lambda one: (len(set(one[0]) - begun), one[0]))
        if ordered and not begun.intersection(following[0]):
            begun.clear()
        left.remove(following)
        ordered.append(following)
        begun.update(following[0])
    return ordered
