"""Files of benefit rules, read and checked against the names that a data folder knows."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from commands.project import home
from offers.settings import Settings

if TYPE_CHECKING:
    from features.rules_file import RulesText
    from features.tables import Tables
    from offers.rules import Finding, RuleSet, Vocabulary


def rules_in_force(data: Path, settings: Settings) -> "RuleSet":
    """The rules of the data folder, else of the project; none where there is no file."""
    from features.rules_file import find_rules
    from offers.rules import RuleSet

    file = find_rules(home(), data)
    text = None if file is None else read_rules_text(file)
    if text is None or (text.content.value is None and not text.faults):  # as the file that is shipped
        return RuleSet()
    return sound_rules(file, rules_vocabulary(data, settings), settings)


def sound_rules(file: Path | None, vocabulary: "Vocabulary", settings: Settings) -> "RuleSet":
    """The rules of a file without faults; none where there is no file."""
    from offers.rules import FAULT, RuleSet

    if file is None:
        return RuleSet()
    found, findings = parse_rules_file(file, vocabulary, settings)
    faults = [str(finding) for finding in findings if finding.severity == FAULT]
    if faults:
        raise ValueError(f"{file} has faults:\n" + "\n".join(f"- {fault}" for fault in faults))
    return found


def parse_rules_file(
    file: Path, vocabulary: "Vocabulary", settings: Settings
) -> "tuple[RuleSet, tuple[Finding, ...]]":
    """The rules of a file and all that a check finds."""
    from offers.rule_checks import check_rules
    from offers.rule_parsing import parse_rules
    from offers.rules import FAULT, RuleSet

    text = read_rules_text(file)
    if text.faults:
        return RuleSet(), text.faults
    found, findings = parse_rules(text.content, vocabulary, text.digest)
    if not any(finding.severity == FAULT for finding in findings):
        now_us = int(datetime.now(UTC).timestamp() * 1e6)
        findings += check_rules(found, vocabulary, settings.decision.max_services, now_us)
    return found, tuple(sorted(findings))


def read_rules_text(file: Path) -> "RulesText":
    """What a rules file holds, or its faults."""
    from features.rules_file import read_rules

    if not file.is_file():
        raise ValueError(
            f"there is no rules file {file}: check the path, or write one; docs/rules.md shows how."
        )
    return read_rules(file)


def rules_vocabulary(data: Path, settings: Settings) -> "Vocabulary":
    """The names that a data folder knows."""
    from features.tables import load_tables

    return names_in(load_tables(data, settings.money), settings)


def names_in(tables: "Tables", settings: Settings) -> "Vocabulary":
    """The names that tables know."""
    from features.pipeline import Layout
    from features.rule_facts import vocabulary_of
    from features.tables import catalog_of

    channels = tables.exposures["channel"].unique().tolist()
    return vocabulary_of(
        Layout.of(tables), settings.tiers.names, catalog_of(tables.services), settings, channels
    )
