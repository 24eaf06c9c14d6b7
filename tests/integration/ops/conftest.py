"""Events, operations and tokens on a real database."""

from __future__ import annotations

import pytest

from quasar.clock import SystemClock
from quasar.database.pool import Database
from quasar.ops.events import Events
from quasar.ops.operations import Operations
from quasar.ops.tokens import Tokens


@pytest.fixture
def events(database: Database) -> Events:
    return Events(database, "registry", SystemClock())


@pytest.fixture
def operations(database: Database, events: Events) -> Operations:
    return Operations(database, "registry", events, SystemClock())


@pytest.fixture
def tokens(database: Database, events: Events) -> Tokens:
    return Tokens(database, events, SystemClock())
