"""Keeps a running service's scores young: maps what was filled, and has it filled anew in time."""

import logging
import subprocess
import time
from collections.abc import Callable

from offers.calendar import HOUR_US
from serving.child import start_child
from serving.config import ServeConfig
from serving.kept_scores import KeptScores, key_of, newest, scores_beside
from training.bundle import Bundle

logger = logging.getLogger("perkwise")

_LOOK_EVERY_S = 1.0
_TRY_AGAIN_S = 60.0  # after a filling that came to nothing
_FEW_USERS = 1000  # are scored when they ask: a process of its own is not worth it


class ScoreKeeper:
    """``poll`` is for a thread of its own, again and again.

    Parameters
    ----------
    take : callable
        Given the scores that are to be used from now on.
    now_us : callable
        The clock: microseconds since 1970.
    """

    def __init__(
        self,
        config: ServeConfig,
        bundle: Bundle,
        n_users: int,
        take: Callable[[KeptScores], None],
        now_us: Callable[[], int],
    ) -> None:
        self._config, self._bundle, self._n_users = config, bundle, n_users
        self._take, self._now_us = take, now_us
        self._max_age_us = config.settings.serving.score_max_age_hours * HOUR_US
        self._root, self.key = scores_beside(config.state), key_of(config.data, bundle)
        self._filling: subprocess.Popen[bytes] | None = None
        self._as_of_us = 0
        self._look_at_s = self._fill_at_s = 0.0
        self._latest: KeptScores | None = None
        self._has_failed = False

    @property
    def is_settled(self) -> bool:
        """Is there nothing to wait for: scores are there, or none are wanted, or none could be made?"""
        return not self._is_wanted or self._latest is not None or self._has_failed

    @property
    def _is_wanted(self) -> bool:
        return self._max_age_us > 0 and self._n_users >= _FEW_USERS

    def hand_to(self, take: Callable[[KeptScores], None]) -> None:
        """From now on another takes what is found, and what was found last."""
        self._take = take
        if self._latest is not None:
            take(self._latest)

    def poll(self) -> None:
        """Map scores that are new, and have them filled where they get old."""
        if not self._is_wanted or time.monotonic() < self._look_at_s:
            return
        self._look_at_s = time.monotonic() + _LOOK_EVERY_S
        if self._filling is not None and self._filling.poll() is not None:
            self._has_failed = self._filling.returncode != 0
            if self._has_failed:
                logger.error("Scores could not be made beforehand: users are scored when they ask.")
            self._filling = None
        found = newest(self._root, self.key, self._bundle, self._n_users)
        if found is not None and found.as_of_us > self._as_of_us:
            self._as_of_us, self._latest = found.as_of_us, found
            self._take(found)
        is_old = self._now_us() - self._as_of_us > self._max_age_us / 2
        if is_old and self._filling is None and time.monotonic() >= self._fill_at_s:
            self._fill_at_s = time.monotonic() + _TRY_AGAIN_S
            alone = {"OMP_NUM_THREADS": "1"}  # the other processors are for those who ask
            self._filling = start_child("serving.fill_scores", {**self._config.to_environment(), **alone})

    def close(self) -> None:
        """End what is being filled."""
        if self._filling is not None:
            self._filling.kill()
            self._filling.wait()
