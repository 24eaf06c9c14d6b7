"""What a subscription covers: symbols, common symbols, the members of an index, or the assets that pass a condition."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_LONGEST_NAME = 200


class SelectionKind(StrEnum):
    """How a selection names what it covers."""

    SYMBOL = "symbol"
    SYMBOLS = "symbols"
    COMMON_SYMBOL = "common_symbol"
    COMMON_SYMBOLS = "common_symbols"
    INDEX = "index"
    ASSETS = "assets"

    @property
    def is_single(self) -> bool:
        """Whether it names one thing, which then has to exist."""
        return self in (SelectionKind.SYMBOL, SelectionKind.COMMON_SYMBOL, SelectionKind.INDEX)


@dataclass(frozen=True, slots=True)
class AssetCondition:
    """The listed assets of the provider that pass all of these conditions; an empty one admits all."""

    asset_classes: tuple[str, ...] = ()
    """In lower case, as assets keep them."""
    exchanges: tuple[str, ...] = ()
    quote_currencies: tuple[str, ...] = ()
    filter: str = ""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> AssetCondition:
        """Read a stored condition."""
        return cls(
            asset_classes=tuple(document.get("asset_classes", ())),
            exchanges=tuple(document.get("exchanges", ())),
            quote_currencies=tuple(document.get("quote_currencies", ())),
            filter=document.get("filter", ""),
        )

    def document(self) -> dict[str, Any]:
        """Return it as it is stored: what is empty is left out."""
        parts = {
            "asset_classes": sorted(set(self.asset_classes)),
            "exchanges": sorted(set(self.exchanges)),
            "quote_currencies": sorted(set(self.quote_currencies)),
            "filter": self.filter.strip(),
        }
        return {name: part for name, part in parts.items() if part}


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection of one provider's assets."""

    kind: SelectionKind
    names: tuple[str, ...] = ()
    """The symbols, common symbols or the index; empty for a condition."""
    assets: AssetCondition | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Selection:
        """Read a stored selection."""
        word, value = next(iter(document.items()))
        kind = SelectionKind(word)
        if kind is SelectionKind.ASSETS:
            return cls(kind, assets=AssetCondition.of(value))
        return cls(kind, (value,) if kind.is_single else tuple(value))

    def document(self) -> dict[str, Any]:
        """Return it as it is stored."""
        if self.assets is not None:
            return {str(self.kind): self.assets.document()}
        return {str(self.kind): self.names[0] if self.kind.is_single else list(self.names)}

    @property
    def label(self) -> str:
        """What it names, for people and for sorting; a long list is cut."""
        if self.assets is not None:
            return _cut(", ".join(_parts(self.assets.document())))
        return _cut(", ".join(self.names))

    @property
    def key(self) -> bytes:
        """Equal for selections that cover the same: in any order, as a list of one, and (but for symbols) any case."""
        kind = str(self.kind).removesuffix("s") if self.kind is not SelectionKind.ASSETS else str(self.kind)
        names = self.names if kind == SelectionKind.SYMBOL else tuple(name.lower() for name in self.names)
        content = [kind, sorted(set(names)), self.assets.document() if self.assets is not None else {}]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()


def _parts(document: Mapping[str, Any]) -> Iterable[str]:
    for name, part in document.items():
        yield str(part) if name == "filter" else f"{name}: {' '.join(part)}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"
