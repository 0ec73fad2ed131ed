"""numba's compiler, for loops over rows that numpy cannot do at once, or only in many calls."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


def compiled(signature: str) -> Callable[[Callable[..., None]], Any]:
    """Compile for these types; the machine code is kept beside the source, or made anew where it cannot."""

    def compile_it(function: Callable[..., None]) -> Any:
        try:
            return njit(signature, cache=True, error_model="numpy")(function)
        except RuntimeError:  # nothing may be written beside the source, nor in the user's own folder
            return njit(signature, error_model="numpy")(function)

    return compile_it


def plain(numbers: NDArray[Any], kind: type) -> NDArray[Any]:
    """As compiled code takes arrays: in one piece, and writable."""
    whole: NDArray[Any] = np.ascontiguousarray(numbers, kind)
    return whole if whole.flags.writeable else whole.copy()
