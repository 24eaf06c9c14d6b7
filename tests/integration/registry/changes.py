"""Which event each method of the registry writes that changes something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from quasar_proto.common.v1 import access_pb2
from quasar_proto.registry.v1 import (
    asset_service_pb2,
    code_service_pb2,
    index_service_pb2,
    mapping_service_pb2,
    subscription_service_pb2,
)

INSTRUMENTS: Final[Mapping[str, str]] = {
    "SyncAssets": "AssetsSynced",
    "UpdateAsset": "AssetUpdated",
    "ImportIdentities": "IdentitiesImported",
    "MatchAssets": "AssetsMatched",
    "AcceptMatch": "MatchAccepted",
    "RejectMatch": "MatchRejected",
    "BatchDecideMatches": "MatchAccepted",
    "CreateCommonSymbol": "CommonSymbolCreated",
    "RenameCommonSymbol": "CommonSymbolRenamed",
    "DeleteCommonSymbol": "CommonSymbolDeleted",
    "CreateMapping": "MappingCreated",
    "UpdateMapping": "MappingUpdated",
    "DeleteMapping": "MappingDeleted",
    "BatchCreateMappings": "MappingCreated",
    "BatchUpdateMappings": "MappingUpdated",
    "BatchDeleteMappings": "MappingDeleted",
    "ApplySuggestions": "MappingCreated",
    "GenerateMappings": "MappingsGenerated",
    "Remap": "MappingsRemapped",
    "CreateIndex": "IndexCreated",
    "UpdateIndex": "IndexUpdated",
    "DeleteIndex": "IndexDeleted",
    "SetIndexMembers": "IndexMembersChanged",
    "SyncIndex": "IndexSynced",
}
CODE: Final[Mapping[str, str]] = {
    "UploadCode": "CodeUploaded",
    "ActivateCodeVersion": "CodeActivated",
    "DeactivateCode": "CodeDeactivated",
    "DeleteCode": "CodeDeleted",
    "ReplaceSecrets": "SecretsReplaced",
    "UpdatePreferences": "PreferencesUpdated",
}
SUBSCRIPTIONS: Final[Mapping[str, str]] = {
    "CreateSubscription": "SubscriptionCreated",
    "BatchCreateSubscriptions": "SubscriptionsCreated",
    "UpdateSubscription": "SubscriptionUpdated",
    "PauseSubscription": "SubscriptionPaused",
    "ResumeSubscription": "SubscriptionResumed",
    "DeleteSubscription": "SubscriptionDeleted",
    "BatchUpdateSubscriptions": "SubscriptionsUpdated",
    "BatchPauseSubscriptions": "SubscriptionsPaused",
    "BatchResumeSubscriptions": "SubscriptionsResumed",
    "BatchDeleteSubscriptions": "SubscriptionsDeleted",
}
CHANGE_NOTHING: Final = frozenset(
    {
        "ValidateCode",
        "PreviewIndexSync",
        # Parts of an upload are no change: they expire.
        "StartManifestUpload",
        "UploadManifestPart",
        "DeleteManifestUpload",
    }
)
"""Methods that need more than a viewer and change nothing that anybody lives on."""

COUNTS_ONLY: Final = frozenset(
    {
        "AssetsSynced",
        "IdentitiesImported",
        "AssetsMatched",
        "MappingsCreated",
        "MappingsUpdated",
        "MappingsDeleted",
        "MappingsGenerated",
        "MappingsRemapped",
        "IndexSynced",
    }
)
"""Events of work on many rows: they tell how many, and the operation or the events beside them tell which."""


def methods_that_need_more_than_a_viewer() -> set[str]:
    """Return the names of the registry's methods that a viewer may not call."""
    found = set()
    for module in (
        asset_service_pb2,
        code_service_pb2,
        index_service_pb2,
        mapping_service_pb2,
        subscription_service_pb2,
    ):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                if method.GetOptions().Extensions[access_pb2.required_role] != access_pb2.ROLE_VIEWER:
                    found.add(method.name)
    return found


def check(method: str, kind: str, events: Sequence[Any], actor: str) -> None:
    """Check that the events of a call tell who, what, and what was before and after."""
    kinds = [event["kind"] for event in events]
    assert kind in kinds, f"{method} wrote {kinds}"
    for event in events:
        told = f"{method}: {dict(event)}"
        assert event["actor"] == actor, told
        assert event["subject_type"], told
        assert event["message"].endswith("."), told
        data = event["data"]
        if event["kind"] in COUNTS_ONLY:
            assert any(isinstance(value, int) for value in data.values()), told
        elif event["kind"].endswith("Created"):
            assert data.get("after") or data.get("subscription_ids"), told
        elif event["kind"].endswith("Deleted"):
            assert data.get("before"), told
        elif event["kind"] == "IndexMembersChanged":
            assert data, told
        elif event["kind"] == "CodeUploaded":
            assert data["after"]["sha256"], told
        else:
            assert {"before", "after"} <= set(data), told
            assert data["before"] != data["after"] or event["kind"] == "MatchRejected", told
