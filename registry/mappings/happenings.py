"""The events of changes of mappings."""

from __future__ import annotations

from collections.abc import Sequence

from registry.ground import Happening
from registry.store.mappings import Mapping


def created(mapping: Mapping) -> Happening:
    """Return the event that an asset was mapped."""
    return Happening(
        kind="MappingCreated",
        message=f"{mapping.label} was mapped to {mapping.common_symbol}.",
        subject_type="mapping",
        subject_name=mapping.label,
        data={"after": mapping.facts, "reason": mapping.reason},
    )


def updated(before: Mapping, after: Mapping) -> Happening:
    """Return the event that a mapping was changed."""
    return Happening(
        kind="MappingUpdated",
        message=f"The mapping of {after.label} was changed.",
        subject_type="mapping",
        subject_name=after.label,
        data={"before": before.facts, "after": after.facts},
    )


def deleted(mapping: Mapping) -> Happening:
    """Return the event that a mapping was deleted."""
    return Happening(
        kind="MappingDeleted",
        message=f"{mapping.label} is not mapped to {mapping.common_symbol} any more.",
        subject_type="mapping",
        subject_name=mapping.label,
        data={"before": mapping.facts},
    )


def batch_changed(verb: str, happenings: Sequence[Happening], **counts: int) -> list[Happening]:
    """Return the events of a batch: those of its changes, and one that tells how many they are.

    Args:
        verb: What was done: created, updated or deleted.
        happenings: The event of each change.
        counts: What else was counted.
    """
    number = len(happenings)
    noun = "mapping was" if number == 1 else "mappings were"
    whole = Happening(
        kind=f"Mappings{verb.title()}",
        message=f"{number} {noun} {verb} in one batch.",
        subject_type="mappings",
        subject_name="",
        data={verb: number, **counts},
    )
    return [*happenings, whole]
