"""The demonstration's trading: one strategy, one paper account, one running instance."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import quasar
from quasar.client.platform import Platform
from quasar.errors import AlreadyExists, FailedPrecondition, NotFound
from quasar_proto.common.v1 import values_pb2
from quasar_proto.registry.v1 import code_service_pb2 as code_pb
from quasar_proto.strategy.v1 import strategy_pb2, trading_pb2, universe_pb2
from quasar_proto.strategy.v1 import strategy_service_pb2 as strategy_pb
from quasar_proto.strategy.v1 import trading_service_pb2 as trading_pb

FILE: Final = "sma_cross.py"
ACCOUNT: Final = "demo"
INSTANCE: Final = "demo-sma-cross"
SYMBOL: Final = "SOL/USD"
INTERVAL: Final = "1min"
CASH: Final = "100000"
# Short averages cross every few minutes, so that there is something to see.
PARAMETERS: Final = {"fast": 2, "slow": 5, "quantity": 100}


def strategy_file() -> Path:
    """Return the example strategy: that of the checkout, else the copy inside the installed wheel.

    Raises:
        FailedPrecondition: It is in neither.
    """
    package = Path(quasar.__path__[0])
    for folder in (package.parent / "examples" / "strategies", package / "_data" / "examples" / "strategies"):
        if (folder / FILE).is_file():
            return folder / FILE
    raise FailedPrecondition(f"the example {FILE} must come with the platform, did not; install Quasar again")


async def upload_strategy(platform: Platform) -> tuple[str, int]:
    """Upload and activate the example strategy; an unchanged file makes no new version.

    Returns:
        Its name and the version that is active.
    """
    file = strategy_file()
    answer = await platform.code.UploadCode(
        code_pb.UploadCodeRequest(
            kind=values_pb2.CODE_KIND_STRATEGY,
            file_name=file.name,
            content=file.read_bytes(),
            activate=True,
            note="uploaded by `quasar demo`",
        ),
        timeout=120,
    )
    return answer.code.ref.name, answer.version.version


async def open_account(platform: Platform) -> bool:
    """Open the paper account; return False when it exists."""
    try:
        await platform.trading.CreatePaperAccount(
            trading_pb.CreatePaperAccountRequest(
                account_id=ACCOUNT,
                display_name="Demonstration",
                paper=trading_pb2.PaperSettings(cash=[_dollars(CASH)]),
            )
        )
    except AlreadyExists:
        return False
    return True


async def start_instance(platform: Platform, strategy: str) -> bool:
    """Create the instance unless it exists, and start it unless it runs.

    Returns:
        Whether it was created.
    """
    try:
        answer = await platform.strategies.GetInstance(strategy_pb.GetInstanceRequest(instance_id=INSTANCE))
        created, enabled = False, answer.instance.enabled
    except NotFound:
        instance = _instance(strategy)
        await platform.strategies.CreateInstance(strategy_pb.CreateInstanceRequest(instance=instance))
        created, enabled = True, False
    if not enabled:
        await platform.strategies.StartInstance(strategy_pb.StartInstanceRequest(instance_id=INSTANCE))
    return created


def _instance(strategy: str) -> strategy_pb2.Instance:
    series = values_pb2.SeriesKey(provider="simulated", symbol=SYMBOL, interval=INTERVAL)
    made = strategy_pb2.Instance(
        instance_id=INSTANCE,
        display_name=f"Cross-over on {SYMBOL}",
        description="Made by `quasar demo`.",
        strategy=strategy,
        mode=strategy_pb2.TRADING_MODE_PAPER,
        universe=universe_pb2.Universe(selectors=[universe_pb2.SeriesSelector(series=series)]),
        account_id=ACCOUNT,
        capital=_dollars(CASH),
    )
    made.parameters.update(PARAMETERS)
    return made


def _dollars(amount: str) -> values_pb2.Money:
    return values_pb2.Money(amount=values_pb2.Decimal(value=amount), currency="USD")
