"""Benefit rules: checked, compared, and tried on all users before they hold."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.console import progress_bars, say, table_of
from commands.errors import Commands
from commands.options import data_argument, option_bundle, option_json, option_seed
from commands.project import find_bundle, home, read_settings
from commands.rules_files import parse_rules_file, rules_vocabulary, sound_rules
from offers.settings import Settings

if TYPE_CHECKING:
    from offers.rules import RuleSet
    from serving.rule_trial import Trial
    from training.rule_worth import WorthOnLog


@click.group(cls=Commands)
def rules() -> None:
    """The benefit rules: check them, compare them, try them on all users."""


@rules.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Whose names count; else serving.data.")
@option_json
def rules_check(file: Path | None, data: Path | None, as_json: bool) -> None:
    """Check the benefit rules whole: every fault with its line and what to do.

    Ends with an error where there is a fault.

    Example: perkwise rules check rules.yaml --data var/shop
    """
    from features.rules_file import find_rules
    from offers.rule_checks import switches_of
    from offers.rules import FAULT

    data = data or home() / read_settings().serving.data
    settings = read_settings(data)
    file = file or find_rules(home(), data)
    if file is None:
        raise ValueError(f"there is no rules.yaml in {home()} or {data}: write one; docs/rules.md shows how.")
    vocabulary = rules_vocabulary(data, settings)
    found, findings = parse_rules_file(file, vocabulary, settings)
    is_sound = not any(finding.severity == FAULT for finding in findings)
    switches = switches_of(found, vocabulary) if is_sound else None
    answer = {
        "file": str(file),
        "hash": found.digest,
        "sound": is_sound,
        "rules": [rule.name for rule in found.rules],
        "findings": [asdict(finding) for finding in findings],
        "switches": asdict(switches) if switches else None,
    }
    lines = [f"{finding.severity:<8} {finding}" for finding in findings]
    n_combinations = f", {switches.n_combinations} combinations of switches checked" if switches else ""
    verdict = f"sound: {len(found.rules)} rules{n_combinations}" if is_sound else "not sound"
    say(as_json, answer, *lines, f"{file} is {verdict}.")
    if not is_sound:
        raise click.exceptions.Exit(1)


@rules.command("diff")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.argument("data", required=False, type=click.Path(path_type=Path))
@option_bundle
@option_json
def rules_diff(old: Path, new: Path, data: Path | None, bundle: str | None, as_json: bool) -> None:
    """What differs between two rules files; with DATA also how many users it concerns.

    Example: perkwise rules diff rules.yaml rules-next.yaml var/shop
    """
    from offers.rule_diff import changes

    names_of = data or home() / read_settings().serving.data
    settings = read_settings(names_of)
    vocabulary = rules_vocabulary(names_of, settings)
    before, after = (sound_rules(file, vocabulary, settings) for file in (old, new))
    told = changes(before, after)
    answer: dict[str, Any] = {"old": before.digest, "new": after.digest, "changes": told}
    lines = told or ["The rules are the same."]
    if data:
        trial, _ = try_on_all(data, bundle, settings, before, after, 0, ask_log=False)
        answer.update(
            {key: trial.to_json()[key] for key in ("users", "refused_more", "allowed_more", "other_list")}
        )
        lines.append(
            f"Of {trial.n_users:,} users {trial.n_refused_more:,} are refused something more, "
            f"{trial.n_allowed_more:,} allowed something more, {trial.n_other_list:,} would get another list."
        )
    say(as_json, answer, *lines)


@rules.command("dry-run")
@data_argument
@click.option("--rules", "file", type=click.Path(path_type=Path), help="Instead of those in force.")
@option_bundle
@option_seed
@option_json
def rules_dry_run(data: Path, file: Path | None, bundle: str | None, seed: int, as_json: bool) -> None:
    """Who would get something else by new rules than by those in force, and what that is worth.

    Without --rules, the rules in force are compared with none.

    Example: perkwise rules dry-run var/shop --rules rules-next.yaml
    """
    from features.rules_file import find_rules
    from offers.rules import RuleSet

    settings = read_settings(data)
    vocabulary = rules_vocabulary(data, settings)
    in_force = sound_rules(find_rules(home(), data), vocabulary, settings)
    before, after = (
        (RuleSet(), in_force) if file is None else (in_force, sound_rules(file, vocabulary, settings))
    )
    trial, on_log = try_on_all(data, bundle, settings, before, after, seed, ask_log=True)
    assert on_log is not None
    gain, low, high = trial.worth
    services = [
        [name, f"{a:,}", f"{b:,}", f"{b - a:+,}"] for name, (a, b) in trial.by_service.items() if a or b
    ]
    tiers = [[name, f"{users:,}", f"{other:,}"] for name, (users, other) in trial.by_tier.items()]
    say(
        as_json,
        {**trial.to_json(), "worth_on_log": on_log.to_json()},
        f"{trial.n_other_list:,} of {trial.n_users:,} users would get something else.",
        table_of("Users shown each service", ["service", "before", "after", "change"], services),
        table_of("By tier", ["tier", "users", "something else"], tiers),
        *(
            f"{one['user_id']}: {', '.join(one['before']) or 'nothing'}"
            f" -> {', '.join(one['after']) or 'nothing'}"
            + "".join(f"; not {name}: {reason}" for name, reason in one["why_not"].items())
            for one in trial.examples
        ),
        f"On the log: {on_log.verdict}",
        f"{trial.worth_kind.capitalize()}: {gain:+.4g} {settings.money.currency} a user "
        f"({low:+.4g} to {high:+.4g}).",
    )


def try_on_all(
    data: Path,
    bundle: str | None,
    settings: Settings,
    before: "RuleSet",
    after: "RuleSet",
    seed: int,
    ask_log: bool,
) -> "tuple[Trial, WorthOnLog | None]":
    """Both sets of rules on all users, now; and, where it is asked, on the log."""
    from features.tables import load_tables
    from serving.rule_trial import try_rules
    from training.bundle import read_bundle
    from training.rule_worth import worth_of_rules

    chosen = read_bundle(find_bundle(bundle))
    tables = load_tables(data, settings.money)
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    with progress_bars() as progress:
        trial = try_rules(tables, chosen, settings, before, after, now_us, seed, progress)
        if not ask_log:
            return trial, None
        return trial, worth_of_rules(data, tables, chosen, settings, before, after, seed, progress)
