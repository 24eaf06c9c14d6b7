"""The DataHub and the strategy engine as owners of code, over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from google.protobuf import struct_pb2

from quasar import logs
from quasar.client.channel import Channel
from quasar.errors import (
    Aborted,
    DeadlineExceeded,
    NotFound,
    PluginUnavailable,
    QuasarError,
    ResourceExhausted,
    ServiceUnavailable,
    Unavailable,
    Unimplemented,
    VendorFailed,
)
from quasar.rpc.wellknown import struct
from quasar_proto.common.v1 import code_pb2 as common
from quasar_proto.datahub.v1 import market_data_service_pb2 as market_data
from quasar_proto.datahub.v1 import market_data_service_pb2_grpc as market_data_grpc
from quasar_proto.datahub.v1 import provider_service_pb2 as provider
from quasar_proto.datahub.v1 import provider_service_pb2_grpc as provider_grpc
from quasar_proto.strategy.v1 import strategy_pb2
from quasar_proto.strategy.v1 import strategy_service_pb2 as strategy
from quasar_proto.strategy.v1 import strategy_service_pb2_grpc as strategy_grpc
from quasar_proto.strategy.v1 import trading_service_pb2 as trading
from quasar_proto.strategy.v1 import trading_service_pb2_grpc as trading_grpc
from registry.code.owners import ApplyOutcome, ApplyState, CodeChange, InstanceUse, Report, Submission
from registry.code.refs import CodeKind, CodeRef
from registry.rpc.code_messages import ref_message, report_of

VALIDATION_S: Final = 120.0
"""A trial run of code may take this long."""
APPLY_S: Final = 20.0
"""The change is stored already; the caller waits this long to hear how it went."""
ASK_S: Final = 5.0
_PAGE: Final = 1000
_MOST_PAGES: Final = 20
_NAMES: Final = {"datahub": "the DataHub", "strategy": "the strategy engine"}
_STILL: Final = (
    strategy_pb2.INSTANCE_STATE_STOPPED,
    strategy_pb2.INSTANCE_STATE_WAITING,
    strategy_pb2.INSTANCE_STATE_FAILED,
)
_RELOADED: Final = {
    provider.RELOAD_OUTCOME_SWAPPED: ApplyState.REPLACED,
}
_APPLIED: Final = {
    strategy.CODE_APPLY_STATE_APPLIED: ApplyState.APPLIED,
    strategy.CODE_APPLY_STATE_REPLACED: ApplyState.REPLACED,
    strategy.CODE_APPLY_STATE_NOT_RUNNING: ApplyState.NOT_RUNNING,
    strategy.CODE_APPLY_STATE_AT_NEXT_START: ApplyState.NOT_RUNNING,
    strategy.CODE_APPLY_STATE_FAILED: ApplyState.FAILED,
}
_REFUSED: Final = (PluginUnavailable, VendorFailed)
"""The owner answers, and what it started did not come up."""
_LATER: Final = (Unavailable, DeadlineExceeded, Unimplemented, ResourceExhausted, Aborted)
"""The owner does not answer, or has no time now: it finds the change by itself."""
_log = logs.get("registry.rpc.owners")


class RemoteOwners:
    """Implements `registry.code.owners.CodeOwners`."""

    def __init__(self, datahub: Channel, strategy_engine: Channel) -> None:
        """Ask through these channels."""
        self._providers = datahub.stub(provider_grpc.ProviderServiceStub)
        self._market_data = datahub.stub(market_data_grpc.MarketDataServiceStub)
        self._strategies = strategy_engine.stub(strategy_grpc.StrategyServiceStub)
        self._trading = strategy_engine.stub(trading_grpc.TradingServiceStub)

    async def validate(self, submission: Submission) -> Report:
        """Have the owning service validate code; see `CodeOwners.validate`."""
        ask = {
            CodeKind.PROVIDER: self._validate_provider,
            CodeKind.BROKER: self._validate_broker,
            CodeKind.STRATEGY: self._validate_strategy,
        }[submission.kind]
        try:
            return report_of(await ask(submission))
        except (Unavailable, Unimplemented) as error:
            raise _cannot_validate(submission.kind, error) from error

    async def _validate_provider(self, submission: Submission) -> common.ValidationReport:
        request = provider.ValidateProviderRequest(
            file_name=submission.file_name,
            content=submission.content,
            secrets=submission.secrets,
            preferences=_struct(submission.preferences),
        )
        return (await self._providers.ValidateProvider(request, timeout=VALIDATION_S)).report

    async def _validate_broker(self, submission: Submission) -> common.ValidationReport:
        request = trading.ValidateBrokerRequest(
            file_name=submission.file_name,
            content=submission.content,
            secrets=submission.secrets,
            preferences=_struct(submission.preferences),
        )
        return (await self._trading.ValidateBroker(request, timeout=VALIDATION_S)).report

    async def _validate_strategy(self, submission: Submission) -> common.ValidationReport:
        request = strategy.ValidateStrategyRequest(
            file_name=submission.file_name,
            content=submission.content,
            secrets=submission.secrets,
            parameters=_struct(submission.preferences),
        )
        return (await self._strategies.ValidateStrategy(request, timeout=VALIDATION_S)).report

    async def apply(self, change: CodeChange) -> ApplyOutcome:
        """Tell the owner of a stored change; see `CodeOwners.apply`."""
        try:
            if change.ref.kind is CodeKind.PROVIDER:
                return await self._reload(change.ref)
            return await self._apply(change)
        except QuasarError as error:
            return _outcome_of(change.ref, error)

    async def _reload(self, ref: CodeRef) -> ApplyOutcome:
        answer = await self._providers.ReloadProvider(provider.ReloadProviderRequest(name=ref.name), timeout=APPLY_S)
        return ApplyOutcome(_RELOADED.get(answer.outcome, ApplyState.APPLIED))

    async def _apply(self, change: CodeChange) -> ApplyOutcome:
        request = strategy.ApplyCodeRequest(
            code=ref_message(change.ref),
            active_version=change.active_version,
            secrets_changed=change.secrets_changed,
            preferences_changed=change.preferences_changed,
        )
        answer = await self._strategies.ApplyCode(request, timeout=APPLY_S)
        detail = answer.text
        if answer.state == strategy.CODE_APPLY_STATE_AT_NEXT_START and not detail:
            detail = (
                f"Running instances keep the former version until their next start: {', '.join(answer.instance_ids)}."
            )
        return ApplyOutcome(_APPLIED.get(answer.state, ApplyState.APPLIED), detail)

    async def instances(self, ref: CodeRef) -> Sequence[InstanceUse]:
        """Return the strategy instances that use the code; see `CodeOwners.instances`."""
        # `:` finds a name in any letter case, and more than that: `_uses` has the last word.
        text = "" if ref.kind is CodeKind.PROVIDER else f"{ref.kind} : {_quoted(ref.name)}"
        try:
            return [
                InstanceUse(one.instance_id, one.state not in _STILL, ref.kind is not CodeKind.PROVIDER)
                async for one in self._instances(text)
                if _uses(one, ref)
            ]
        except (Unavailable, DeadlineExceeded, Unimplemented) as error:
            raise ServiceUnavailable(
                f"The strategy engine does not answer, so it is not known which instances use {ref}; "
                "start it (see `quasar status`) and repeat the call.",
                metadata={"service": "strategy"},
                retry_after_s=5.0,
            ) from error

    async def _instances(self, filter_text: str) -> AsyncIterator[strategy_pb2.Instance]:
        token = ""
        while True:
            request = strategy.ListInstancesRequest(page_size=_PAGE, page_token=token, filter=filter_text)
            answer = await self._strategies.ListInstances(request, timeout=ASK_S)
            for instance in answer.instances:
                yield instance
            token = answer.next_page_token
            if not token:
                return

    async def delete_instance(self, instance_id: str) -> None:
        """Delete a stopped instance."""
        request = strategy.DeleteInstanceRequest(instance_id=instance_id, abandon_positions=True)
        try:
            await self._strategies.DeleteInstance(request, timeout=ASK_S)
        except NotFound:
            _log.info("the instance was deleted meanwhile", instance_id=instance_id)

    async def series_count(self, ref: CodeRef) -> int | None:
        """Return how many series with stored data a provider has; see `CodeOwners.series_count`."""
        token, count = "", 0
        for _ in range(_MOST_PAGES):
            request = market_data.SearchSeriesRequest(
                filter=f"provider = {_quoted(ref.name)}", page_size=_PAGE, page_token=token
            )
            try:
                answer = await self._market_data.SearchSeries(request, timeout=ASK_S)
            except (Unavailable, DeadlineExceeded, Unimplemented):
                return None
            count += sum(map(_stored, answer.matches))
            token = answer.next_page_token
            if not token:
                return count
        return None


def _stored(match: market_data.SeriesMatch) -> int:
    """Return how many series of a symbol have data; what is only subscribed to is listed too."""
    return sum(each.has_historical or each.has_live for each in match.intervals) + match.has_ticks


def _uses(instance: strategy_pb2.Instance, ref: CodeRef) -> bool:
    """Tell whether an instance runs the code, or names the provider in a part of its universe.

    Names are the same in any letter case, and an instance keeps the one that it was created with.
    """
    if ref.kind is CodeKind.PROVIDER:
        parts = (getattr(one, str(one.WhichOneof("selector") or "series")) for one in instance.universe.selectors)
        named = [str(getattr(part, "provider", "")) for part in parts]
    else:
        named = [instance.strategy if ref.kind is CodeKind.STRATEGY else instance.broker]
    return ref.name.lower() in (name.lower() for name in named)


def _outcome_of(ref: CodeRef, error: QuasarError) -> ApplyOutcome:
    """Return how a change stands whose owner did not take it: the change itself is stored."""
    owner = _NAMES[ref.kind.owner]
    if isinstance(error, NotFound):
        return ApplyOutcome(
            ApplyState.NOT_RUNNING, "Nothing of this code is running; it takes effect at the next start."
        )
    if isinstance(error, _REFUSED) or not isinstance(error, _LATER):
        return ApplyOutcome(ApplyState.FAILED, error.message)
    _log.warning("a change of code waits for its owner", code=str(ref), problem=error.message)
    return ApplyOutcome(
        ApplyState.PENDING,
        f"{owner[0].upper()}{owner[1:]} does not answer; the change takes effect as soon as it does.",
    )


def _cannot_validate(kind: CodeKind, error: QuasarError) -> ServiceUnavailable:
    owner = _NAMES[kind.owner]
    return ServiceUnavailable(
        f"{owner[0].upper()}{owner[1:]}, which validates a {kind}, does not answer; nothing was stored. "
        "Start it (see `quasar status`) and repeat the call.",
        metadata={"service": kind.owner},
        retry_after_s=error.retry_after_s or 5.0,
    )


def _quoted(text: str) -> str:
    """Return a text as a value of a filter."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _struct(values: Mapping[str, Any] | None) -> struct_pb2.Struct | None:
    return None if values is None else struct(values)
