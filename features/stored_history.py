"""A history as named arrays and back: what files hold, and what is read from them without a sort."""

from collections.abc import Mapping

from numpy.typing import NDArray

from features.asof import Log
from features.encoding import Encoding
from features.history import LOGS, History
from features.logs import event_levels, offer_levels
from features.user_ids import UserIds


def arrays_of(history: History) -> dict[str, NDArray]:
    """Everything of a history but its encoding, as ``<part>.<array>``."""
    users = {"joined_at_us": history.joined_at_us, "attributes": history.attributes}
    ids = history.user_ids if isinstance(history.user_ids, UserIds) else UserIds.of(history.user_ids)
    parts = {"users": users, "ids": ids.arrays(), **{name: getattr(history, name).arrays() for name in LOGS}}
    return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}


def history_of(arrays: Mapping[str, NDArray], encoding: Encoding) -> History:
    """The history of these arrays; its `user_ids` are `UserIds`.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        What `arrays_of` gave, perhaps mapped from files; more than that does no harm.
    encoding : Encoding
        That of the history.
    """
    events, offers = event_levels(encoding.n_services), offer_levels(encoding.n_services)
    levels = {"events": events, "uses": events, "takes": events, "offers": offers}
    logs = {name: Log.from_arrays(_part(arrays, name), levels.get(name, {})) for name in LOGS}
    return History(
        encoding=encoding,
        user_ids=user_ids_of(arrays),
        joined_at_us=arrays["users.joined_at_us"],
        attributes=arrays["users.attributes"],
        **logs,
    )


def user_ids_of(arrays: Mapping[str, NDArray]) -> UserIds:
    """The user ids among these arrays."""
    return UserIds.from_arrays(_part(arrays, "ids"))


def _part(arrays: Mapping[str, NDArray], part: str) -> dict[str, NDArray]:
    length = len(part) + 1
    return {name[length:]: array for name, array in arrays.items() if name.startswith(f"{part}.")}
