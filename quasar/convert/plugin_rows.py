"""Rows that providers tell: symbols, constituents and rejected rows, to and from the contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from google.protobuf.message import DecodeError

from quasar.convert.manifest import asset_class_from_proto, asset_class_to_proto, plain_to_value, value_to_plain
from quasar.errors import InvalidArgument
from quasar.model.instruments import Instrument
from quasar.sdk.notices import RejectedRow
from quasar.sdk.requests import Constituent
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import collection_pb2
from quasar_proto.datahub.v1 import provider_pb2 as datahub_pb2
from quasar_proto.plugin.v1 import provider_pb2

MALFORMED: Final = (InvalidArgument, DecodeError, ValueError, ArithmeticError, LookupError)
"""What reading an answer raises that breaks the contract; a plug-in may send anything."""
_STEPS = {"price_step": "price_step", "size_step": "size_step", "minimum_size": "min_size"}
_TEXTS = {
    "symbol": "symbol",
    "provider_id": "external_id",
    "primary_id": "primary_id",
    "matcher_symbol": "matcher_symbol",
    "name": "name",
    "exchange": "exchange",
    "base_currency": "base_currency",
    "quote_currency": "quote_currency",
    "country": "country",
}
_MEMBER_TEXTS = ("name", "matcher_symbol", "exchange", "base_currency", "quote_currency", "primary_id")
_PAYLOAD_BYTES = 16 * 1024


def instrument_to_proto(instrument: Instrument) -> datahub_pb2.ProviderSymbol:
    """Return the contract's form of a symbol."""
    texts: dict[str, Any] = {field: getattr(instrument, own) or "" for field, own in _TEXTS.items()}
    found = datahub_pb2.ProviderSymbol(asset_class=asset_class_to_proto(instrument.asset_class), active=True, **texts)
    for own, field in _STEPS.items():
        value: Decimal | None = getattr(instrument, own)
        if value is not None:
            getattr(found, field).CopyFrom(values_pb2.Decimal(value=format(value, "f")))
    return found


def instrument_from_proto(found: datahub_pb2.ProviderSymbol, provider: str) -> Instrument:
    """Return the value of a symbol.

    Raises:
        InvalidArgument: The symbol is empty, or a step is not above 0.
    """
    fields: dict[str, Any] = {own: getattr(found, field) or None for field, own in _TEXTS.items() if own != "symbol"}
    present = {field.name for field, _ in found.ListFields()}
    fields |= {own: Decimal(getattr(found, field).value) for own, field in _STEPS.items() if field in present}
    asset_class = asset_class_from_proto(found.asset_class)
    return Instrument(provider=provider, symbol=found.symbol, asset_class=asset_class, **fields)


def constituent_to_proto(member: Constituent) -> datahub_pb2.Constituent:
    """Return the contract's form of a member of an index."""
    texts: dict[str, Any] = {field: getattr(member, field) or "" for field in _MEMBER_TEXTS}
    asset_class = asset_class_to_proto(member.asset_class)
    found = datahub_pb2.Constituent(symbol=member.symbol, asset_class=asset_class, **texts)
    if member.weight is not None:
        found.weight = member.weight
    return found


def constituent_from_proto(found: datahub_pb2.Constituent) -> Constituent:
    """Return the value of a member of an index."""
    texts: dict[str, Any] = {field: getattr(found, field) or None for field in _MEMBER_TEXTS}
    weight = found.weight if found.HasField("weight") else None
    asset_class = asset_class_from_proto(found.asset_class)
    return Constituent(symbol=found.symbol, weight=weight, asset_class=asset_class, **texts)


def rejected_to_proto(row: RejectedRow, series_id: int) -> provider_pb2.RejectedRow:
    """Return the contract's form of a row that is none; a payload that is too large is left out."""
    found = provider_pb2.RejectedRow(
        series_id=series_id,
        symbol=row.symbol,
        reason=collection_pb2.QUARANTINE_REASON_MALFORMED,
        detail=row.detail[:2000],
        time_ns=row.time_ns,
    )
    payload: Mapping[str, object] = row.payload
    if len(json.dumps(dict(payload), default=str)) > _PAYLOAD_BYTES:
        payload = {"left_out": "the row is too large to keep"}
    for name, value in payload.items():
        found.payload.fields[str(name)].CopyFrom(plain_to_value(value))
    return found


def rejected_from_proto(found: provider_pb2.RejectedRow) -> RejectedRow:
    """Return the value of a row that is none."""
    payload = {name: value_to_plain(value) for name, value in found.payload.fields.items()}
    return RejectedRow(found.detail, payload, found.time_ns, found.symbol)
