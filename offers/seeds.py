"""Seeds of draws, and the generators that they start.

numpy spreads the bits of a number over the state of a generator, which takes longer than the draw. A seed
that is text is the state itself, for a service that draws anew for each answer.
"""

import secrets
import threading

import numpy as np

Seed = int | tuple[int, ...] | str  # whatever numpy makes a generator of; or 32 hexadecimal digits

_DIGITS = 32
_INCREMENT = 0x5851F42D4C957F2D14057B7EF767814F  # odd, as PCG64 demands it; that of PCG's authors

_own = threading.local()  # a generator of each thread, which is set anew by each seed that is text


def new_seed() -> str:
    """A seed that nobody can guess."""
    return secrets.token_hex(_DIGITS // 2)


def generator_of(seed: Seed) -> np.random.Generator:
    """The generator that a seed starts, the same at each call.

    That of a text is the thread's own: it ends where the next begins.

    Raises
    ------
    ValueError
        Where a text is not 32 hexadecimal digits.

    Examples
    --------
    >>> generator_of("00000000000000000000000000000001").random() == generator_of("0" * 31 + "1").random()
    True
    """
    if not isinstance(seed, str):
        return np.random.Generator(np.random.PCG64(seed))
    if len(seed) != _DIGITS:
        raise ValueError(f"a seed that is text must be {_DIGITS} hexadecimal digits, got {seed!r}.")
    rng: np.random.Generator | None = getattr(_own, "rng", None)
    if rng is None:
        rng = _own.rng = np.random.Generator(np.random.PCG64(0))
    rng.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": int(seed, 16), "inc": _INCREMENT},
        "has_uint32": 0,  # no half of a number is left of the draw before
        "uinteger": 0,
    }
    return rng
