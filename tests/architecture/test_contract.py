"""The contract keeps its own rules: roles, comments, reasons, fresh generated files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2 as dpb

from quasar import errors

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> dpb.FileDescriptorSet:
    out = tmp_path_factory.mktemp("contract") / "contract.binpb"
    buf = Path(sys.executable).parent / "buf"
    subprocess.run([buf, "build", "--as-file-descriptor-set", "-o", out], cwd=ROOT, check=True, timeout=60)
    return dpb.FileDescriptorSet.FromString(out.read_bytes())


def ours(contract: dpb.FileDescriptorSet) -> list[dpb.FileDescriptorProto]:
    return [file for file in contract.file if file.package.startswith("quasar.")]


def test_every_service_of_the_design_is_in_the_contract(contract: dpb.FileDescriptorSet) -> None:
    found = {f"{file.package}.{service.name}" for file in ours(contract) for service in file.service}
    wanted = {
        "quasar.registry.v1": ["CodeService", "AssetService", "MappingService", "IndexService", "SubscriptionService"],
        "quasar.datahub.v1": ["MarketDataService", "CollectionService", "ProviderService"],
        "quasar.strategy.v1": [
            "StrategyService",
            "BacktestService",
            "TradingService",
            "PolicyService",
            "PortfolioService",
        ],
        "quasar.ops.v1": ["OperationService", "EventService", "SystemService"],
        "quasar.plugin.v1": ["ProviderPlugin", "BrokerPlugin", "StrategyPlugin"],
    }
    assert {f"{package}.{name}" for package, names in wanted.items() for name in names} <= found


def test_every_method_names_the_role_it_needs(contract: dpb.FileDescriptorSet) -> None:
    from scripts import api_reference

    without = [
        f"{service.name}.{method.name}"
        for file in ours(contract)
        for service in file.service
        for method in service.method
        if api_reference.required_role(method) == "none" and file.package != "quasar.plugin.v1"
    ]
    assert without == []


def test_every_method_has_a_comment_and_its_own_messages(contract: dpb.FileDescriptorSet) -> None:
    bare, shared, seen = [], [], set[str]()
    for file in ours(contract):
        commented = {tuple(place.path) for place in file.source_code_info.location if place.leading_comments.strip()}
        for s, service in enumerate(file.service):
            for m, method in enumerate(service.method):
                if (6, s, 2, m) not in commented:
                    bare.append(method.name)
                if {method.input_type, method.output_type} & seen:
                    shared.append(method.name)
                seen |= {method.input_type, method.output_type}
    assert (bare, shared) == ([], [])


def test_no_method_needs_a_client_stream_that_browsers_lack(contract: dpb.FileDescriptorSet) -> None:
    client_streams = [m.name for file in ours(contract) for s in file.service for m in s.method if m.client_streaming]
    assert client_streams == []


def test_the_errors_of_the_library_and_the_contract_are_the_same(contract: dpb.FileDescriptorSet) -> None:
    (file,) = (file for file in contract.file if file.name == "quasar/common/v1/errors.proto")
    in_contract = {value.name.removeprefix("ERROR_REASON_") for value in file.enum_type[0].value if value.number}
    classes = [
        item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, errors.QuasarError)
    ]
    raised = {cls.reason for cls in classes}
    assert raised == in_contract


@pytest.mark.timeout(300)
def test_generated_files_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/gen.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_field_hides_what_a_generated_dataclass_needs(contract: dpb.FileDescriptorSet) -> None:
    import betterproto2

    taken = {name for name in dir(betterproto2.Message) if not name.startswith("_")} | {
        "bytes",
        "str",
        "int",
        "float",
        "bool",
    }
    hiding = [
        f"{message.name}.{field.name}"
        for file in ours(contract)
        for message in file.message_type
        for field in message.field
        if field.name in taken
    ]
    assert hiding == []
