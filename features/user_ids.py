"""The ids of all users in flat arrays, which a file can hold: no object for each, as a dict would need."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Self, overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.text_hashes import Hashes, Texts, encoded, hash_of_encoded


class UserIds(Sequence[str]):
    """User ids in the order of their numbers; ``number_of`` is the way back.

    Of one id that stands there twice the last counts.

    Parameters
    ----------
    texts : Texts
    hashes : ndarray of shape (n,)
        Of the texts, sorted.
    numbers : ndarray of shape (n,)
        Whose hash it is.

    Examples
    --------
    >>> ids = UserIds.of(["ann", "bob"])
    >>> ids[1], ids.number_of("bob"), ids.number_of("eve")
    ('bob', 1, None)
    """

    def __init__(self, texts: Texts, hashes: Hashes, numbers: NDArray[np.int32]) -> None:
        self._texts, self._hashes, self._numbers = texts, hashes, numbers

    @classmethod
    def of(cls, user_ids: pd.Series | Iterable[str]) -> Self:
        """These ids, numbered from 0."""
        texts = Texts.of(user_ids)
        hashes = texts.hashes()
        order = np.argsort(hashes, kind="stable")
        return cls(texts, hashes[order], order.astype(np.int32))

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> Self:
        """What ``arrays`` gave."""
        texts = Texts(arrays["content"], arrays["offsets"])
        return cls(texts, arrays["hashes"], arrays["numbers"])

    def arrays(self) -> dict[str, NDArray]:
        """All there is, by name."""
        return {
            "content": self._texts.content,
            "offsets": self._texts.offsets,
            "hashes": self._hashes,
            "numbers": self._numbers,
        }

    def number_of(self, user_id: str) -> int | None:
        """The number of a user; None where there is none of this id."""
        content = encoded(user_id)
        key = np.uint64(hash_of_encoded(content))  # a plain int would turn the search into one of floats
        place = int(self._hashes.searchsorted(key, side="right")) - 1
        while place >= 0 and self._hashes[place] == key:
            number = int(self._numbers[place])
            if self._texts.encoded(number) == content:
                return number
            place -= 1
        return None

    def __contains__(self, user_id: object) -> bool:
        return isinstance(user_id, str) and self.number_of(user_id) is not None

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, number: int) -> str: ...

    @overload
    def __getitem__(self, number: slice) -> tuple[str, ...]: ...

    def __getitem__(self, number: int | slice) -> str | tuple[str, ...]:
        if isinstance(number, slice):
            return tuple(self[one] for one in range(len(self))[number])
        return self._texts.encoded(range(len(self))[number]).decode()

    def __iter__(self) -> Iterator[str]:
        return (self._texts.encoded(number).decode() for number in range(len(self)))
