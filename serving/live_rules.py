"""The rules of a running service: read again when their file changes, kept while it has faults."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from features.rules_file import MAX_BYTES, parse_yaml
from offers.rule_checks import check_rules
from offers.rule_parsing import parse_rules
from offers.rules import FAULT, NOTE, Finding, RuleSet, Vocabulary

logger = logging.getLogger("perkwise")

POLL_S = 0.2


class RulesInForce(NamedTuple):
    """Rules and the bytes of the file that they stand in; empty where there is none."""

    rules: RuleSet
    content: bytes
    findings: tuple[Finding, ...] = ()  # what the check has to say of them


class LiveRules:
    """The rules in force, and what keeps the file's from being so.

    Parameters
    ----------
    files : sequence of paths
        The first that is there is read: the data folder's own before the project's.
    vocabulary : Vocabulary
        The names of the bundle that is served.
    max_services : int
        The longest list, for the check of what must be shown.

    Raises
    ------
    ValueError
        Where the file has faults when the service starts. Services that are not in the catalogue any more
        are no fault then; they are left out, and the log says so.
    """

    def __init__(
        self, files: Sequence[Path], vocabulary: Vocabulary, max_services: int, now_us: Callable[[], int]
    ) -> None:
        self._files, self._vocabulary = tuple(files), vocabulary
        self._max_services, self._now_us = max_services, now_us
        self._waiting: bytes | None = (
            None  # seen once; taken when it is seen again, for it may be half-written
        )
        self.faults: tuple[str, ...] = ()
        content = self._read()
        self.in_force = RulesInForce(RuleSet(), b"")
        self._seen = content
        if content is not None:
            rules, findings = self._parse(content, is_lenient=True)
            faults = [str(finding) for finding in findings if finding.severity == FAULT]
            if faults:
                raise ValueError(
                    f"{self._file()} has faults:\n" + "\n".join(f"- {fault}" for fault in faults)
                )
            self.in_force = RulesInForce(rules, content)
            self._warn(findings)

    def poll(self) -> RulesInForce | None:
        """The rules of a file that changed and is sound; None where nothing is to be done.

        A content must be seen twice before it counts, so that a file that is being written is left alone.
        Rules are found again at every poll until they are taken.
        """
        content = self._read()
        if content == self._seen:
            self._waiting = None
            return None
        if content != self._waiting:
            self._waiting = content
            return None
        if content is None:
            self._seen = content
            self._refuse(["the file is gone: put it back; write `rules: []` where there are to be none."])
            return None
        if content == self.in_force.content and content:
            self._seen, self.faults = content, ()
            logger.info("%s: the rules in force again stand in the file.", self._file())
            return None
        rules, findings = self._parse(content, is_lenient=False)
        faults = [str(finding) for finding in findings if finding.severity == FAULT]
        if faults:
            self._seen = content
            self._refuse(faults)
            return None
        return RulesInForce(rules, content, findings)

    def take(self, found: RulesInForce) -> None:
        """Let these rules be in force from the next decision on."""
        self.faults = ()
        self.in_force, self._seen = found, found.content
        self._warn(found.findings)
        logger.info("%s: %d rules in force, %s.", self._file(), len(found.rules.rules), found.rules.digest)

    def _parse(self, content: bytes, is_lenient: bool) -> tuple[RuleSet, tuple[Finding, ...]]:
        text = parse_yaml(content)
        if text.faults:
            return RuleSet(), text.faults
        rules, findings = parse_rules(text.content, self._vocabulary, text.digest, is_lenient)
        if is_lenient or any(finding.severity == FAULT for finding in findings):
            return rules, findings
        return rules, (*findings, *check_rules(rules, self._vocabulary, self._max_services, self._now_us()))

    def _refuse(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        logger.error(
            "%s is not taken, the rules of before stay in force: %s", self._file(), "; ".join(faults)
        )

    def _warn(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            if finding.severity not in (FAULT, NOTE):
                logger.warning("%s, %s", self._file(), finding)

    def _file(self) -> Path | None:
        return next((file for file in self._files if file.is_file()), self._files[0] if self._files else None)

    def _read(self) -> bytes | None:
        for file in self._files:
            try:
                with file.open("rb") as opened:
                    return opened.read(MAX_BYTES + 1)
            except OSError:
                continue
        return None


class Poller:
    """Asks every fifth of a second whether a file has changed, in a thread of its own."""

    def __init__(self, polls: Sequence[Callable[[], None]]) -> None:
        self._polls = polls
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="perkwise-rules", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop asking."""
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        told = [""] * len(self._polls)
        while not self._ended.wait(POLL_S):
            for place, poll in enumerate(self._polls):
                try:
                    poll()
                    told[place] = ""
                except Exception as error:  # a service without its poller would go on with old rules, unseen
                    kind = type(error).__name__
                    if kind != told[place]:
                        told[place] = kind
                        logger.error("what changed in files could not be taken, and is tried again: %s", kind)
