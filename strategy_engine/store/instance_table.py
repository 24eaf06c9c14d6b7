"""Instances and runs in the database."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from quasar.database.pool import Database
from quasar.errors import NotFound, Resource
from quasar.filters import Field, condition
from quasar.ops.events import Severity
from quasar.ordering import OrderField
from strategy_engine.instances.instances import RUN_STATES, TELEMETRY, Document, Instance, InstanceState
from strategy_engine.store.actors import actor_document, actor_of
from strategy_engine.store.backtest_lists import LEVELS
from strategy_engine.store.field_words import LabelledFields, truth
from strategy_engine.store.pages import Asked, Listing
from strategy_engine.store.statements import SQL

_MODES: Final = ("BACKTEST", "PAPER", "LIVE")
_INSTANCES: Final = Listing(
    name="ListInstances",
    statement=SQL["instances"],
    fields=LabelledFields(
        {
            "instance_id": Field("instance_id"),
            "display_name": Field("display_name"),
            "strategy": Field("strategy"),
            "code_version": Field("code_version", "integer"),
            "account_id": Field("coalesce(account_id, '')"),
            "broker": Field("'Paper'"),
            "mode": Field("mode", "enum", _MODES),
            "state": Field("state", "enum", tuple(each.name for each in InstanceState)),
            "enabled": truth("enabled"),
            "create_time": Field("created_at", "time"),
        }
    ),
    orders={
        "instance_id": OrderField("instance_id"),
        "display_name": OrderField("display_name"),
        "strategy": OrderField("strategy"),
        "mode": OrderField("mode"),
        "state": OrderField("state"),
        "create_time": OrderField("created_at", "timestamptz"),
        "update_time": OrderField("updated_at", "timestamptz"),
    },
    default="instance_id",
    tie=(OrderField("instance_id"),),
)
_RUNS: Final = Listing(
    name="ListRuns",
    statement=SQL["runs"],
    fields={
        "run_id": Field("run_id::text"),
        "instance_id": Field("coalesce(instance_id, '')"),
        "strategy": Field("strategy"),
        "code_version": Field("code_version", "integer"),
        "mode": Field("mode", "enum", _MODES),
        "state": Field("state", "enum", RUN_STATES),
        "account_id": Field("coalesce(account_id, '')"),
        "start_time": Field("started_at", "time"),
        "end_time": Field("finished_at", "time", nullable=True),
    },
    orders={
        "start_time": OrderField("started_at", "timestamptz"),
        "end_time": OrderField("coalesce(finished_at, 'infinity')", "timestamptz"),
        "instance_id": OrderField("coalesce(instance_id, '')"),
    },
    default="start_time desc",
    tie=(OrderField("run_id", "uuid"),),
)
_SEQUENCE: Final = OrderField("run_sequence", "bigint")
_EVENTS: Final = Listing(
    name="ListRunEvents",
    statement=SQL["run_event_page"],
    fields={
        "kind": Field("coalesce(data ->> 'telemetry', 'STATE')", "enum", TELEMETRY),
        "severity": Field("severity", "enum", tuple(each.name for each in Severity)),
        "symbol": Field(
            "coalesce(data -> 'payload' ->> 'symbol', data -> 'payload' -> 'spec' ->> 'symbol', "
            "data #>> '{payload,place,order,symbol}', data #>> '{payload,cancel_all,symbol}', '')"
        ),
        "sequence": Field("run_sequence", "integer"),
        "event_time": Field("(data ->> 'event_time')::timestamptz", "time", nullable=True),
        "record_time": Field("time", "time"),
    },
    orders={"sequence": _SEQUENCE},
    default="sequence",
    tie=(_SEQUENCE,),
)
_LOGS: Final = Listing(
    name="GetRunLogs",
    statement=SQL["run_log_page"],
    fields={
        "level": Field("level", "enum", LEVELS),
        "message": Field("message"),
        "event_time": Field("event_time", "time"),
        "record_time": Field("time", "time"),
    },
    orders={"sequence": OrderField("line", "bigint")},
    default="sequence",
    tie=(OrderField("line", "bigint"),),
)


class InstanceTable:
    """Reads and writes instances and runs."""

    def __init__(self, database: Database) -> None:
        """Use `database`."""
        self.database = database

    async def insert(self, connection: Any, new: Instance, now: dt.datetime) -> bool:
        """Record an instance; False when the id was ever used."""
        found = await connection.fetchval(
            SQL["instance_insert"],
            new.instance_id,
            new.display_name,
            new.description,
            dict(new.labels),
            new.strategy,
            new.code_version,
            dict(new.parameters),
            dict(new.universe),
            new.account_id,
            new.capital,
            new.capital_currency if new.capital is not None else None,
            new.seed,
            now,
            actor_document(new.actor),
        )
        return found is not None

    async def get(self, instance_id: str) -> Instance:
        """Return an instance.

        Raises:
            NotFound: There is none of that id.
        """
        statement = SQL["instances"].format(key="null", filter="instance_id = $2", after="true", order="1")
        row = await self.database.fetchrow(statement, 1, instance_id)
        if row is None:
            raise NotFound(f"There is no instance {instance_id!r}.", resource=Resource("instance", instance_id))
        return _instance(row)

    async def page(self, asked: Asked) -> tuple[list[Instance], str]:
        """Return a page of instances, by id unless ordered otherwise."""
        rows, following = await _INSTANCES.page(self.database, asked)
        return [_instance(row) for row in rows], following

    async def to_run(self) -> list[Instance]:
        """Return the instances that are to run."""
        return [_instance(row) for row in await self.database.fetch(SQL["instances_to_run"])]

    async def glances(self, instance_ids: Sequence[str], since: dt.datetime) -> dict[str, Any]:
        """Return by instance, as rows, what happened since a time, marks of equity and the version of the code."""
        rows = await self.database.fetch(SQL["instance_glances"], list(instance_ids), since)
        return {row["instance_id"]: row for row in rows}

    async def sparklines(self, instance_ids: Sequence[str], since: dt.datetime) -> dict[str, list[float]]:
        """Return by instance at most 60 values of its equity since a time, oldest first."""
        rows = await self.database.fetch(SQL["instance_sparklines"], list(instance_ids), since)
        return {row["scope_id"]: row["points"] for row in rows}

    async def count(self, filter_text: str) -> int:
        """Return how many instances pass a filter."""
        where = condition(filter_text, _INSTANCES.fields, first_parameter=1)
        found: int = await self.database.fetchval(SQL["instances_count"].format(filter=where.sql), *where.parameters)
        return found

    async def update(self, connection: Any, changed: Instance, now: dt.datetime, *, restart: bool) -> bool:
        """Write an instance; False when it was changed since it was read.

        With `restart` a run that goes on keeps the former settings until it is started again.
        """
        found = await connection.fetchval(
            SQL["instance_update"],
            changed.instance_id,
            changed.display_name,
            changed.description,
            dict(changed.labels),
            changed.code_version,
            dict(changed.parameters),
            dict(changed.universe),
            changed.account_id,
            changed.capital,
            changed.capital_currency if changed.capital is not None else None,
            now,
            restart,
            changed.revision,
            changed.seed,
        )
        return found is not None

    async def delete(self, connection: Any, instance_id: str, now: dt.datetime) -> None:
        """Delete an instance; its records stay."""
        await connection.execute(SQL["instance_delete"], instance_id, now)

    async def move(
        self,
        connection: Any,
        instance_id: str,
        state: InstanceState,
        text: str,
        now: dt.datetime,
        *,
        run_id: uuid.UUID | None,
        enabled: bool,
    ) -> None:
        """Write where an instance stands."""
        await connection.execute(SQL["instance_state"], instance_id, state.value, text, now, run_id, enabled)

    async def insert_run(
        self, connection: Any, run_id: uuid.UUID, instance: Instance, code: tuple[int, str], now: dt.datetime
    ) -> None:
        """Record a run; `code` is the version and its SHA-256."""
        await connection.execute(
            SQL["run_insert"],
            run_id,
            instance.instance_id,
            instance.strategy,
            code[0],
            code[1],
            dict(instance.parameters),
            [],
            instance.account_id,
            instance.capital,
            instance.capital_currency if instance.capital is not None else None,
            instance.seed,
            actor_document(instance.actor),
            now,
        )

    async def open_run(self, instance_id: str) -> Any:
        """Return the run of an instance that has not ended, or None."""
        return await self.database.fetchrow(SQL["run_open"], instance_id)

    async def move_run(self, connection: Any, run_id: uuid.UUID, state: str, text: str, now: dt.datetime) -> None:
        """Write where a run stands."""
        await connection.execute(SQL["run_state"], run_id, state, text, now)

    async def progress(
        self,
        run_id: uuid.UUID,
        last_intent: int,
        metrics: Mapping[str, Any],
        series: Sequence[Document] | None = None,
    ) -> None:
        """Write how far a run has come; intents are never taken twice."""
        shown = None if series is None else [dict(each) for each in series]
        await self.database.execute(SQL["run_progress"], run_id, last_intent, dict(metrics), shown)

    async def run(self, run_id: uuid.UUID) -> Any:
        """Return a run as a row.

        Raises:
            NotFound: There is none of that id.
        """
        statement = SQL["runs"].format(key="null", filter="run_id = $2", after="true", order="1")
        row = await self.database.fetchrow(statement, 1, run_id)
        if row is None:
            raise NotFound(f"There is no run {run_id}.", resource=Resource("run", str(run_id)))
        return row

    async def runs(self, asked: Asked) -> tuple[list[Any], str]:
        """Return a page of runs as rows, newest first."""
        return await _RUNS.page(self.database, asked)

    async def events(self, run_id: uuid.UUID, after: int, count: int) -> list[Any]:
        """Return events of a run after a sequence, as rows."""
        return await self.database.fetch(SQL["run_events"], count, str(run_id), after)

    async def event_page(self, run_id: str, asked: Asked) -> tuple[list[Any], str]:
        """Return a page of the events of a run, oldest first unless ordered otherwise."""
        return await _EVENTS.page(self.database, asked, run_id)

    async def log_page(self, run_id: str, asked: Asked) -> tuple[list[Any], str]:
        """Return a page of the lines of a run, oldest first unless ordered otherwise."""
        return await _LOGS.page(self.database, asked, run_id)

    async def run_marks(self, run_id: uuid.UUID, instance_id: str, day: dt.datetime) -> Any:
        """Return the newest mark of a run's equity with peak, deepest fall and starts; None: it was never marked.

        Args:
            run_id: The run.
            instance_id: Its instance.
            day: When the trading day began.
        """
        return await self.database.fetchrow(SQL["run_marks"], run_id, instance_id, day)

    async def run_curve(self, run_id: uuid.UUID) -> list[Any]:
        """Return the marks of a run's equity as rows, oldest first."""
        return await self.database.fetch(SQL["run_curve"], run_id)

    async def runs_of(self, instance_id: str) -> int:
        """Return how many runs an instance has had."""
        found: int = await self.database.fetchval(SQL["instance_runs"], instance_id)
        return found

    async def find_run(self, run_id: uuid.UUID) -> bool:
        """Tell whether there is such a run."""
        return await self.database.fetchval(SQL["run_there"], run_id) is not None


def _instance(row: Any) -> Instance:
    return Instance(
        instance_id=row["instance_id"],
        display_name=row["display_name"],
        description=row["description"],
        labels=row["labels"],
        strategy=row["strategy"],
        code_version=row["code_version"],
        parameters=row["parameters"],
        universe=row["universe"],
        account_id=row["account_id"] or "",
        capital=row["capital"],
        capital_currency=row["capital_currency"] or "",
        seed=int(row["seed"]),
        enabled=row["enabled"],
        state=InstanceState(row["state"]),
        state_text=row["state_text"],
        state_time=row["state_at"],
        run_id=row["run_id"],
        last_run_id=row["last_run_id"],
        restart_needed=row["restart_needed"],
        actor=actor_of(row["created_by"]),
        create_time=row["created_at"],
        update_time=row["updated_at"],
        revision=row["revision"],
    )
