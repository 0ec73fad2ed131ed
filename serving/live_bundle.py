"""The bundle of a running service: the champion, taken over while requests are answered.

A thread of its own sees that the champion is another one. The bundle is read as at the start, so another
process has tried its models before this one loads them; where there are many users, they are scored
beforehand. Then it takes over between two requests. What cannot be served is told, and the bundle of before
stays.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from features.pipeline import Layout
from offers.settings import WindowSettings
from serving.application import Application
from serving.config import ServeConfig
from serving.door import Door
from serving.filed import Filed
from serving.kept_scores import key_of
from serving.metrics import metrics
from serving.score_keeper import ScoreKeeper
from training.bundle import Bundle, read_bundle
from training.bundle_files import BundleError
from training.champion import earlier_champions, read_champion

logger = logging.getLogger("perkwise")

_LOOK_EVERY_S = 0.5
_WAIT_FOR_SCORES_S = 300.0
_WAIT_FOR_REQUESTS_S = 10.0
_AGAIN_AFTER_S = 30.0  # where it was not the bundle's fault

Found = tuple[Bundle, Filed]
Signature = tuple[object, ...]  # of a folder and all that decides whether it can be served


class _Candidate(NamedTuple):
    """A bundle on its way to be served."""

    folder: Path
    signature: Signature
    begun_at_s: float
    reading: "Future[Found]"


def read_first(config: ServeConfig, read: Callable[[Path], Found]) -> Found:
    """What the service starts with: the champion, or the nearest before it that can be served.

    Raises
    ------
    BundleError
        Where there is none; without a champion, where the one bundle cannot be read.
    """
    *others, last = _first_folders(config)
    for folder in others:
        try:
            return read(folder)
        except BundleError as error:
            logger.error("The service starts with an earlier bundle: %s", error)
    return read(last)


def _first_folders(config: ServeConfig) -> list[Path]:
    """Each once, in the order in which they are tried."""
    found = []
    if config.champion is not None:
        try:
            found.append(read_champion(config.champion))
        except BundleError as error:
            logger.error("The service starts with an earlier bundle: %s", error)
        found += earlier_champions(config.champion)
    return list(dict.fromkeys([*found, config.bundle.resolve()]))


class LiveBundle:
    """Follows the champion; its polls are for one thread.

    Parameters
    ----------
    application : Application
        With which the service starts.
    file : callable
        The data folder made ready for a bundle's layout and windows.
    take : callable
        Given the application that answers from now on.
    door : Door
        Of the requests.
    now_us : callable
        The clock: microseconds since 1970.
    """

    def __init__(
        self,
        config: ServeConfig,
        application: Application,
        file: Callable[[Layout, WindowSettings], Filed],
        take: Callable[[Application], None],
        door: Door,
        now_us: Callable[[], int],
    ) -> None:
        self.application = application
        self._config, self._file, self._take, self._door, self._now_us = config, file, take, door, now_us
        self._keeper = self._keeper_of(application.bundle, application.state.filed)
        self._keeper.hand_to(application.take_scores)
        self._candidate: _Candidate | None = None
        self._next_keeper: ScoreKeeper | None = None
        self._refused: Signature | None = None
        self._look_at_s = 0.0
        self._reading: Future[Found] | None = None  # the latest; one at a time

    def poll_application(self) -> None:
        """Let changed rules be in force, and declared shifts."""
        self.application.poll()

    def poll_scores(self) -> None:
        """Keep scores young: those of the bundle that is to take over, where there is one."""
        (self._next_keeper or self._keeper).poll()

    def poll_bundle(self) -> None:
        """See whether the champion is another one, and bring it nearer to being served."""
        if self._config.champion is None or time.monotonic() < self._look_at_s:
            return
        try:
            folder = read_champion(self._config.champion)
        except BundleError as error:
            self._drop()
            self._refuse((str(error),), str(error))
            return
        if self._candidate is not None and self._candidate.folder != folder:
            self._drop()
        if folder == self.application.bundle.path:
            self._drop()
            self._settle()
        elif self._candidate is not None:
            self._advance(self._candidate)
        else:
            self._look_at_s = time.monotonic() + _LOOK_EVERY_S
            self._begin(folder)

    def close(self) -> None:
        """Leave off what is under way."""
        self._drop()
        self._keeper.close()

    def _begin(self, folder: Path) -> None:
        """Have the bundle read; what was refused only where something has changed since."""
        if self._reading is not None and not self._reading.done():
            return
        signature = self._signature(folder)
        if signature != self._refused:
            self._reading = _in_a_thread(lambda: self._read(folder))
            self._candidate = _Candidate(folder, signature, time.monotonic(), self._reading)

    def _advance(self, candidate: _Candidate) -> None:
        """One step of the way, where the one before it has come to its end."""
        if not candidate.reading.done():
            return
        try:
            bundle, filed = candidate.reading.result()
            if self._next_keeper is None:
                self._next_keeper = self._keeper_of(bundle, filed)
            waited_s = time.monotonic() - candidate.begun_at_s
            if self._next_keeper.is_settled or waited_s > _WAIT_FOR_SCORES_S:
                self._take_over(bundle, filed, self._next_keeper)
        except ValueError as error:  # BundleError among them: it cannot be served as it is
            self._drop()
            self._refuse(candidate.signature, str(error))
        except Exception as error:  # whatever it is, the bundle of before serves on
            self._drop()
            self._look_at_s = time.monotonic() + _AGAIN_AFTER_S
            self._tell_fault(f"{candidate.folder.name}: {type(error).__name__}: {error}")

    def _take_over(self, bundle: Bundle, filed: Filed, keeper: ScoreKeeper) -> None:
        before = self.application
        if before.fits(bundle) and filed is before.state.filed:
            self._serve(before.with_bundle(bundle), keeper)
        else:
            with self._door.closed(_WAIT_FOR_REQUESTS_S):
                before.database.run_now(lambda connection: None)  # what is on its way to it has arrived
                self._serve(self._made_anew(bundle, filed), keeper)
        logger.info("The bundle %s is served now, %s before.", bundle.hash, before.bundle.hash)

    def _serve(self, application: Application, keeper: ScoreKeeper) -> None:
        keeper.hand_to(application.take_scores)
        self._take(application)
        metrics().took_over(self.application.bundle.hash, application.bundle.hash)
        metrics().refuses(False)
        self._keeper.close()
        self.application, self._keeper = application, keeper
        self._candidate, self._next_keeper, self._refused = None, None, None

    def _made_anew(self, bundle: Bundle, filed: Filed) -> Application:
        """As at a start, from what the database holds."""
        config, database = self._config, self.application.database
        return Application(filed, bundle, database, config.settings, self._now_us, config.rules, config.audit)

    def _read(self, folder: Path) -> Found:
        """The bundle, and the data folder: what is there of it already, where that is what would be read."""
        bundle, application = read_bundle(folder), self.application
        is_same = key_of(self._config.data, application.bundle) == self._keeper.key
        if is_same and application.fits(bundle):
            return bundle, application.state.filed
        return bundle, self._file(bundle.layout, bundle.windows)

    def _keeper_of(self, bundle: Bundle, filed: Filed) -> ScoreKeeper:
        """One whose scores nobody takes yet."""
        config = replace(self._config, bundle=bundle.path)
        return ScoreKeeper(config, bundle, len(filed.user_ids), lambda scores: None, self._now_us)

    def _signature(self, folder: Path) -> Signature:
        return (folder, *_stamps(folder.rglob("*")), *_stamps(iter(self._config.rules)))

    def _refuse(self, signature: Signature, fault: str) -> None:
        """Serve on with the bundle of before, and say why."""
        if signature != self._refused:
            self._refused = signature
            self._tell_fault(fault)

    def _tell_fault(self, fault: str) -> None:
        fault = fault.replace(f"{self._config.champion}{os.sep}", "")
        self.application.bundle_faults = (fault,)
        metrics().refuses(True)
        logger.error("The champion is not served, %s stays: %s", self.application.bundle.hash, fault)

    def _settle(self) -> None:
        """The champion is what is served."""
        if self.application.bundle_faults:
            self.application.bundle_faults = ()
            metrics().refuses(False)
            logger.info("The champion is %s again, which is served.", self.application.bundle.hash)
        self._refused = None

    def _drop(self) -> None:
        """Leave off what is on its way."""
        if self._candidate is not None:
            self._candidate = None
        if self._next_keeper is not None:
            self._next_keeper.close()
            self._next_keeper = None


def _in_a_thread(work: Callable[[], Found]) -> "Future[Found]":
    """What comes of the work; the end of the process does not wait for it."""
    future: Future[Found] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="perkwise-bundle", daemon=True).start()
    return future


def _stamps(files: Iterator[Path]) -> list[Signature]:
    """Names, sizes and times of files; of one that is gone, its name alone."""
    found: list[Signature] = []
    for file in sorted(files):
        try:
            told = file.lstat()
            found.append((file, told.st_size, told.st_mtime_ns, told.st_ino))
        except OSError:
            found.append((file,))
    return found
