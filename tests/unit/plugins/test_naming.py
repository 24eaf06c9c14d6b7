"""The name under which code registers is read without running it, or not told at all."""

from __future__ import annotations

import pytest

from quasar.plugins.manifest import Kind
from quasar.plugins.reading.naming import name_of

PROVIDER = "from quasar.provider import Provider\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f'{PROVIDER}class A(Provider):\n    name = "my_source"\n', "my_source"),
        (f'{PROVIDER}class A(Provider):\n    name: str = "my_source"\n', "my_source"),
        (f"{PROVIDER}class MyOwnProvider(Provider):\n    pass\n", "my_own"),
        (f"{PROVIDER}class Kraken2Feed(Provider):\n    pass\n", "kraken2_feed"),
        (f'{PROVIDER}class _Base(Provider):\n    name = "base"\nclass A(_Base):\n    pass\n', ""),
        (f'{PROVIDER}class A(Provider):\n    name = "a" + "b"\n', ""),
        (f'{PROVIDER}class A(Provider):\n    name = 5\nclass B(Provider):\n    name = "b"\n', ""),
        (f"{PROVIDER}class A(Provider):\n    name = 5\n", ""),
        (f"{PROVIDER}class A(Provider):\n    @property\n    def name(self):\n        return 'a'\n", ""),
        ("class A:\n    name = 'a'\n", ""),
        ("class A(\n", ""),
    ],
)
def test_the_name_is_what_is_written_or_follows_from_the_class(text: str, name: str) -> None:
    assert name_of(Kind.PROVIDER, {"a.py": text}) == name


def test_classes_without_a_name_are_named_as_the_sdk_does() -> None:
    strategy = "from quasar.strategy import Strategy\nclass SmaCross(Strategy):\n    pass\n"
    assert name_of(Kind.STRATEGY, {"a.py": strategy}) == "sma_cross"
