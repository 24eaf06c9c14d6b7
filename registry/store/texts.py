"""Statements with places that the service fills, and texts as the database compares them."""

from __future__ import annotations


def filled(statement: str, **parts: str) -> str:
    """Put parts that the service wrote in the places of a statement."""
    for name, part in parts.items():
        statement = statement.replace(f"{{{name}}}", part)
    return statement


def lowered(text: str) -> str:
    """Return a text in lower case as the database has it: each character by itself, and each becomes one.

    (`str.lower` looks at the characters around a sigma, and makes two of the dotted capital I.)
    """
    return text.lower() if text.isascii() else "".join(character.lower()[0] for character in text)
