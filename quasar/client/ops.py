"""The services that every process serves: the system, its operations, its events."""

from __future__ import annotations

from quasar.client.channel import Channel
from quasar.client.typed import Service, Stream, Unary
from quasar_client.ops import v1 as ops


class SystemService(Service):
    """`quasar.ops.v1.SystemService`."""

    name = "quasar.ops.v1.SystemService"
    get_system_info = Unary("GetSystemInfo", ops.GetSystemInfoRequest, ops.GetSystemInfoResponse)
    get_caller = Unary("GetCaller", ops.GetCallerRequest, ops.GetCallerResponse)
    watch_metrics = Stream("WatchMetrics", ops.WatchMetricsRequest, ops.WatchMetricsResponse)
    watch_logs = Stream("WatchLogs", ops.WatchLogsRequest, ops.WatchLogsResponse)
    list_plugin_processes = Unary(
        "ListPluginProcesses", ops.ListPluginProcessesRequest, ops.ListPluginProcessesResponse
    )
    create_token = Unary("CreateToken", ops.CreateTokenRequest, ops.CreateTokenResponse)
    list_tokens = Unary("ListTokens", ops.ListTokensRequest, ops.ListTokensResponse)
    revoke_token = Unary("RevokeToken", ops.RevokeTokenRequest, ops.RevokeTokenResponse)


class OperationService(Service):
    """`quasar.ops.v1.OperationService`."""

    name = "quasar.ops.v1.OperationService"
    get_operation = Unary("GetOperation", ops.GetOperationRequest, ops.GetOperationResponse)
    list_operations = Unary("ListOperations", ops.ListOperationsRequest, ops.ListOperationsResponse)
    cancel_operation = Unary("CancelOperation", ops.CancelOperationRequest, ops.CancelOperationResponse)
    watch_operation = Stream("WatchOperation", ops.WatchOperationRequest, ops.WatchOperationResponse)


class EventService(Service):
    """`quasar.ops.v1.EventService`."""

    name = "quasar.ops.v1.EventService"
    list_events = Unary("ListEvents", ops.ListEventsRequest, ops.ListEventsResponse)
    watch_events = Stream("WatchEvents", ops.WatchEventsRequest, ops.WatchEventsResponse)


class OpsClient:
    """The operations services of one process."""

    def __init__(self, channel: Channel) -> None:
        """Call through `channel`."""
        self.system = SystemService(channel)
        self.operations = OperationService(channel)
        self.events = EventService(channel)
