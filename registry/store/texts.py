"""Statements with places that the service fills."""

from __future__ import annotations


def filled(statement: str, **parts: str) -> str:
    """Put parts that the service wrote in the places of a statement."""
    for name, part in parts.items():
        statement = statement.replace(f"{{{name}}}", part)
    return statement
