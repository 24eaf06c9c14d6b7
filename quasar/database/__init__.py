"""PostgreSQL as the platform uses it: embedded or external, plain or with TimescaleDB.

pool         connections with the platform's value types and errors; `Database` is what services hold
listener     wake-up hints over LISTEN/NOTIFY
statements   SQL in `.sql` files, by name
migrations   numbered files, forward only; `schema` brings a database up to this build in one call
roles        one login role for each service
storage      time-partitioned tables on native partitions or TimescaleDB
copy         numpy columns from and to binary COPY
embedded     the private server of an installation without one
"""

from __future__ import annotations

from quasar.database.embedded import EmbeddedPostgres
from quasar.database.failures import EmbeddedPostgresError
from quasar.database.listener import Listener
from quasar.database.migrations import (
    MigrationError,
    MigrationReport,
    MigrationStatus,
    load_migrations,
    migrate,
    migration_status,
)
from quasar.database.pool import Database, connect, create_pool
from quasar.database.roles import role_name, service_url
from quasar.database.schema import prepare_schema
from quasar.database.statements import StatementError, Statements, load_statements
from quasar.database.storage import Storage, StorageMode, open_storage, storage_mode

__all__ = [
    "Database",
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "Listener",
    "MigrationError",
    "MigrationReport",
    "MigrationStatus",
    "StatementError",
    "Statements",
    "Storage",
    "StorageMode",
    "connect",
    "create_pool",
    "load_migrations",
    "load_statements",
    "migrate",
    "migration_status",
    "open_storage",
    "prepare_schema",
    "role_name",
    "service_url",
    "storage_mode",
]
