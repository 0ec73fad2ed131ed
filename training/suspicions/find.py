"""Every check of the rows to learn from, in the order in which a reader asks."""

from collections.abc import Iterator

from training.dataset import NOTHING, Dataset
from training.source import Source
from training.suspicions import attributes, outcomes, propensities, tables
from training.suspicions.suspicion import Suspicion


def find_suspicions(source: Source, rows: Dataset) -> tuple[Suspicion, ...]:
    """What is hardly ever true of a sound log, by name; empty for a sound one.

    Nothing is refused here: `training.sufficiency` has refused what cannot teach. Each check is silent
    where the rows are too few to tell, and looks for an effect that is large and that chance does not make.

    Parameters
    ----------
    source : Source
        The data folder as it was read.
    rows : Dataset
        Its training rows of one service or nothing.
    """
    return (*_of_tables(source), *(_of_rows(source, rows) if _has_both_arms(rows) else ()))


def _of_tables(source: Source) -> Iterator[Suspicion]:
    yield from tables.rows_quarantined(source.tables)
    yield from attributes.attribute_values(source.tables.users)
    yield from tables.duplicated_exposures(source.dataset)
    yield from tables.duplicated_users(source.history)
    yield from tables.busy_user(source.history)
    yield from tables.tables_unrelated(source.history)
    yield from tables.unit_change(source.tables.orders)
    yield from tables.margin_above_amount(source.tables.orders)
    yield from tables.clock_shift(source.history)
    yield from outcomes.outcome_gap(source.dataset)
    yield from outcomes.use_before_offer(source.dataset, source.history)


def _of_rows(source: Source, rows: Dataset) -> Iterator[Suspicion]:
    yield from tables.dominant_user(rows, source.history)
    yield from propensities.propensity_level(rows)
    yield from propensities.propensity_sum(rows)
    yield from attributes.outcome_in_profile(rows, source.history)
    yield from attributes.offer_in_profile(rows)
    yield from outcomes.one_class_service(rows)
    yield from outcomes.inverted(rows, source.history)
    yield from outcomes.holdout_like_offered(rows, source.history)
    yield from outcomes.order_before_choice(rows, source.history)


def _has_both_arms(rows: Dataset) -> bool:
    return bool((rows.service == NOTHING).any() and (rows.service != NOTHING).any())
