"""What the workers of one service have in common: a page of memory and two locks.

The database is what they agree on. The page only tells a worker that there is something new in it, and
how many decisions others have at work, so that two of them do not spend the same money. A lock goes with the
process that held it, however that ends, and so does what it had at work: the supervisor clears its place.
"""

import fcntl
import hashlib
import mmap
import os
from collections import deque
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager

Numbers = Sequence[int]  # of the newest row of each table that is followed

N_TABLES = 5
_WRITING, _SCARCE = 0, 1  # bytes of the file that the locks are on
_MOST_WORKERS = 64
_N_COUNTED, _N_BYTES = 4096, 16 * 4096
_TRIED = 16  # places of a name, before it shares one with another


class Shared:
    """The page and the locks: made once, before the fork; each worker then takes its place.

    Numbers of eight bytes are read and written whole.
    """

    place = 0  # of this worker

    def __init__(self, n_workers: int) -> None:
        if not 1 <= n_workers <= _MOST_WORKERS:
            raise ValueError(f"n_workers must be between 1 and {_MOST_WORKERS}, got {n_workers}.")
        self.n_workers = n_workers
        self._file = os.memfd_create("perkwise")
        os.ftruncate(self._file, _N_BYTES)
        content = memoryview(mmap.mmap(self._file, _N_BYTES))
        self._page = content[:_N_COUNTED].cast("q")
        self.moments: MutableMapping[str, float] = Moments(content[_N_COUNTED:])

    def newest(self) -> tuple[int, ...]:
        """The numbers of the newest rows that anybody has acknowledged."""
        return tuple(self._page[:N_TABLES])

    def raise_to(self, numbers: Numbers) -> None:
        """Tell that there are rows up to these; for whoever holds the lock of ``writing``."""
        for place, number in enumerate(numbers):
            if number > self._page[place]:
                self._page[place] = number

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The one worker that writes; the others wait, and none is passed over for long."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, _WRITING)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _WRITING)

    def take_scarce(self) -> bool:
        """Get the lock of whoever decides on what is scarce, if nobody has it."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _SCARCE)
        except OSError:
            return False
        return True

    def leave_scarce(self) -> None:
        """Let go of it."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _SCARCE)

    def add_at_work(self, n_decisions: int) -> None:
        """So many more, or fewer, are decided on by this worker and cannot be read by others yet."""
        self._page[N_TABLES + self.place] += n_decisions

    def at_work_beside(self) -> int:
        """How many decisions the other workers may have made that cannot be read yet."""
        counts = self._page[N_TABLES : N_TABLES + self.n_workers].tolist()
        return sum(counts) - counts[self.place]

    def clear(self, place: int) -> None:
        """The worker of this place has ended."""
        self._page[N_TABLES + place] = 0


class Moments(MutableMapping[str, float]):
    """A moment for each name, in memory that several processes may change; nothing is removed.

    Two that change the same at the same time leave one of the two: good enough for a rate.

    Examples
    --------
    >>> moments = Moments(memoryview(bytearray(4096)))
    >>> moments["shop"] = 7.5
    >>> moments["shop"], moments.get("app", 0.0)
    (7.5, 0.0)
    """

    def __init__(self, content: memoryview) -> None:
        half = len(content) // 16 * 8
        self._names, self._values = content[:half].cast("q"), content[half : 2 * half].cast("d")

    def __getitem__(self, name: str) -> float:
        hashed, place = self._find(name)
        if self._names[place] != hashed:
            raise KeyError(name)
        return self._values[place]

    def __setitem__(self, name: str, value: float) -> None:
        hashed, place = self._find(name)
        self._values[place] = value
        self._names[place] = hashed

    def __delitem__(self, name: str) -> None:
        raise TypeError("nothing is removed")

    def __iter__(self) -> Iterator[str]:
        raise TypeError("names are kept as hashes")

    def __len__(self) -> int:
        return sum(map(bool, self._names))

    def _find(self, name: str) -> tuple[int, int]:
        """The name's hash, and its place: where it is, or where it may be."""
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        hashed = int.from_bytes(digest, "little", signed=True) | 1
        first = hashed % len(self._names)
        places = [(first + step) % len(self._names) for step in range(_TRIED)]
        free = [place for place in places if self._names[place] in (0, hashed)]
        return hashed, free[0] if free else first


class OwnRows:
    """Which rows this worker wrote, as ranges of numbers; one thread adds, another asks.

    Examples
    --------
    >>> own = OwnRows()
    >>> own.add((0, 5, 0, 0, 0), (0, 7, 0, 0, 0))
    >>> own.has(1, 5), own.has(1, 6), own.has(1, 7), own.has(1, 8)
    (False, True, True, False)
    """

    def __init__(self) -> None:
        self._ranges: deque[tuple[Numbers, Numbers]] = deque()
        self._before: tuple[Numbers, Numbers] | None = None  # of the latest range, before it grew

    def add(self, after: Numbers, upto: Numbers) -> None:
        """All rows above these and up to those are ours."""
        self._before = self._ranges[-1] if self._ranges else None
        if self._before is not None and tuple(self._before[1]) == tuple(after):
            self._ranges[-1] = (self._before[0], upto)
        else:
            self._before = None
            self._ranges.append((after, upto))

    def take_back(self) -> None:
        """The latest that was added was not written."""
        if self._before is not None:
            self._ranges[-1] = self._before
        else:
            self._ranges.pop()

    def has(self, table: int, number: int) -> bool:
        """Did this worker write the row?"""
        return any(after[table] < number <= upto[table] for after, upto in tuple(self._ranges))

    def covers(self, seen: Numbers, newest: Numbers) -> bool:
        """Are all rows above these and up to those ours?"""
        return any(
            all(
                new <= one or (low <= one and new <= high)
                for low, one, new, high in zip(after, seen, newest, upto)
            )
            for after, upto in tuple(self._ranges)[-1:]
        )

    def drop(self, seen: Numbers) -> None:
        """Forget what is behind us."""
        while len(self._ranges) > 1 and all(high <= one for high, one in zip(self._ranges[0][1], seen)):
            self._ranges.popleft()
