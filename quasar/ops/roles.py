"""What a caller may do, as numbers of the contract and as words of the database and the command line."""

from __future__ import annotations

import enum


class Role(enum.IntEnum):
    """Ordered: each role may do all that the ones before it may. The numbers are those of `quasar.common.v1.Role`."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """The role as people write it: `viewer`, `operator`, `admin`."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Role:
        """Return the role that a word of the database names."""
        return cls[word.upper()]
