"""Manifests to and from the contract."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import NULL_VALUE, Value

from quasar.model.asset_classes import AssetClass
from quasar.plugins.manifest import Kind, Manifest, PreferenceField
from quasar.sdk.declarations import DEFAULT_PORT, Host, RateLimit, Secret
from quasar_proto.common.v1 import code_pb2, values_pb2
from quasar_proto.plugin.v1 import plugin_pb2

_TYPES = {
    "integer": code_pb2.PREFERENCE_TYPE_INTEGER,
    "number": code_pb2.PREFERENCE_TYPE_NUMBER,
    "string": code_pb2.PREFERENCE_TYPE_STRING,
    "boolean": code_pb2.PREFERENCE_TYPE_BOOLEAN,
    "list": code_pb2.PREFERENCE_TYPE_LIST,
}
_TYPE_NAMES = {number: name for name, number in _TYPES.items()}


def manifest_to_proto(manifest: Manifest) -> code_pb2.Manifest:
    """Return the contract's form."""
    found = code_pb2.Manifest(
        name=manifest.name,
        kind=kind_to_proto(manifest.kind),
        class_name=manifest.class_name,
        module_path=manifest.module_path,
        description=manifest.description,
        author_version=manifest.author_version,
        sdk_version=manifest.sdk_version,
        language=manifest.language,
        capabilities=[values_pb2.ProviderCapability.Value(f"PROVIDER_CAPABILITY_{c}") for c in manifest.capabilities],
        intervals=manifest.intervals,
        streams_ticks=manifest.streams_ticks,
        tick_kinds=manifest.tick_kinds,
        symbols_per_connection=manifest.symbols_per_connection,
        max_live_streams=manifest.max_live_streams,
        asset_classes=[asset_class_to_proto(one) for one in manifest.asset_classes],
        hosts=[code_pb2.AllowedHost(host=host.host, port=host.port) for host in manifest.hosts],
        concurrency=manifest.concurrency,
        default_calendar=manifest.default_calendar,
        indices=manifest.indices,
        preferences=[_field_to_proto(field) for field in manifest.preferences],
        secrets=[
            code_pb2.SecretField(name=s.name, description=s.description, required=s.required) for s in manifest.secrets
        ],
        warmup_bars=manifest.warmup_bars,
        wants_ticks=manifest.wants_ticks,
        order_types=manifest.order_types,
        times_in_force=manifest.times_in_force,
        paper=manifest.paper,
    )
    for interval, depth in (manifest.history_depths or {}).items():
        found.history_depths.add(interval=interval, depth=_duration(depth))
    for limit in manifest.rate_limits:
        found.rate_limits.add(
            calls=limit.calls, window=_duration(dt.timedelta(seconds=limit.window_s)), burst=limit.burst
        )
    if manifest.publication_delay:
        found.publication_delay.FromTimedelta(manifest.publication_delay)
    return found


def manifest_from_proto(found: code_pb2.Manifest) -> Manifest:
    """Return the value that a message of the contract stands for."""
    return Manifest(
        name=found.name,
        kind=kind_from_proto(found.kind),
        class_name=found.class_name,
        module_path=found.module_path,
        description=found.description,
        author_version=found.author_version,
        sdk_version=found.sdk_version,
        language=found.language,
        capabilities=tuple(
            values_pb2.ProviderCapability.Name(one).removeprefix("PROVIDER_CAPABILITY_") for one in found.capabilities
        ),
        intervals=tuple(found.intervals),
        streams_ticks=found.streams_ticks,
        tick_kinds=tuple(found.tick_kinds),
        symbols_per_connection=found.symbols_per_connection,
        max_live_streams=found.max_live_streams,
        asset_classes=tuple(one for n in found.asset_classes if (one := asset_class_from_proto(n)) is not None),
        hosts=tuple(Host(host.host, host.port or DEFAULT_PORT) for host in found.hosts),
        history_depths={depth.interval: depth.depth.ToTimedelta() for depth in found.history_depths},
        rate_limits=tuple(
            RateLimit(limit.calls, limit.window.ToTimedelta().total_seconds(), limit.burst)
            for limit in found.rate_limits
        ),
        concurrency=found.concurrency,
        publication_delay=found.publication_delay.ToTimedelta() if found.HasField("publication_delay") else None,
        default_calendar=found.default_calendar,
        indices=tuple(found.indices),
        preferences=tuple(_field_from_proto(field) for field in found.preferences),
        secrets=tuple(Secret(s.name, s.description, s.required) for s in found.secrets),
        warmup_bars=found.warmup_bars,
        wants_ticks=found.wants_ticks,
        order_types=tuple(found.order_types),
        times_in_force=tuple(found.times_in_force),
        paper=found.paper,
    )


def described(answer: plugin_pb2.DescribeResponse) -> Manifest:
    """Return the manifest that a plug-in describes itself by.

    How many symbols its connections carry may stand in the manifest or, as the contract has it for programs in other
    languages, beside it; what stands beside it goes before.
    """
    found = manifest_from_proto(answer.manifest)
    return replace(
        found,
        symbols_per_connection=max(0, answer.symbols_per_connection or found.symbols_per_connection),
        max_live_streams=max(0, answer.max_live_streams or found.max_live_streams),
    )


def kind_to_proto(kind: Kind) -> values_pb2.CodeKind.ValueType:
    """Return the contract's number of a kind."""
    return values_pb2.CodeKind.Value(f"CODE_KIND_{kind.name}")


def kind_from_proto(number: int) -> Kind:
    """Return the kind of a number of the contract."""
    return Kind[values_pb2.CodeKind.Name(number).removeprefix("CODE_KIND_")]  # type: ignore[arg-type]


def asset_class_to_proto(asset_class: AssetClass | None) -> values_pb2.AssetClass.ValueType:
    """Return the contract's number of an asset class; None is UNSPECIFIED."""
    if asset_class is None:
        return values_pb2.ASSET_CLASS_UNSPECIFIED
    return values_pb2.AssetClass.Value(f"ASSET_CLASS_{asset_class.name}")


def asset_class_from_proto(number: int) -> AssetClass | None:
    """Return the asset class of a number of the contract; None for UNSPECIFIED and for numbers of a newer contract."""
    if not number or number not in values_pb2.AssetClass.values():
        return None
    return AssetClass[values_pb2.AssetClass.Name(number).removeprefix("ASSET_CLASS_")]  # type: ignore[arg-type]


def plain_to_value(plain: Any) -> Value:
    """Return a JSON value of the contract."""
    value = Value()
    if plain is None:
        value.null_value = NULL_VALUE
    elif isinstance(plain, bool):
        value.bool_value = plain
    elif isinstance(plain, int | float):
        value.number_value = plain
    elif isinstance(plain, list | tuple):
        value.list_value.values.extend(plain_to_value(one) for one in plain)
    elif isinstance(plain, dict):
        for name, one in plain.items():
            value.struct_value.fields[str(name)].CopyFrom(plain_to_value(one))
    else:
        value.string_value = str(plain)
    return value


def value_to_plain(value: Value) -> Any:
    """Return the plain value that a JSON value of the contract stands for; whole numbers become integers."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return int(value.number_value) if value.number_value.is_integer() else value.number_value
    if kind == "list_value":
        return [value_to_plain(one) for one in value.list_value.values]
    if kind == "struct_value":
        return {name: value_to_plain(one) for name, one in value.struct_value.fields.items()}
    return None if kind in (None, "null_value") else getattr(value, kind)


def _field_to_proto(field: PreferenceField) -> code_pb2.PreferenceField:
    found = code_pb2.PreferenceField(
        path=field.path,
        type=_TYPES[field.type],
        item_type=_TYPES.get(field.item_type, code_pb2.PREFERENCE_TYPE_UNSPECIFIED),
        default_value=None if field.required and field.default is None else plain_to_value(field.default),
        required=field.required,
        nullable=field.nullable,
        max_length=field.max_length,
        allowed=[plain_to_value(one) for one in field.allowed],
        description=field.description,
        unit=field.unit,
        needs_restart=field.needs_restart,
    )
    if field.minimum is not None:
        found.minimum = field.minimum
    if field.maximum is not None:
        found.maximum = field.maximum
    if field.step is not None:
        found.step = field.step
    return found


def _field_from_proto(found: code_pb2.PreferenceField) -> PreferenceField:
    return PreferenceField(
        path=found.path,
        type=_TYPE_NAMES.get(found.type, "string"),
        item_type=_TYPE_NAMES.get(found.item_type, ""),
        required=found.required,
        nullable=found.nullable,
        step=found.step if found.HasField("step") else None,
        max_length=found.max_length,
        default=value_to_plain(found.default_value) if found.HasField("default_value") else None,
        minimum=found.minimum if found.HasField("minimum") else None,
        maximum=found.maximum if found.HasField("maximum") else None,
        allowed=tuple(value_to_plain(one) for one in found.allowed),
        description=found.description,
        unit=found.unit,
        needs_restart=found.needs_restart,
    )


def _duration(span: dt.timedelta) -> Duration:
    found = Duration()
    found.FromTimedelta(span)
    return found
