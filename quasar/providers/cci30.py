"""CCI30: the thirty largest crypto assets, weighted by the square root of their market value.

Source: cci30.com and the page's own request, which answers JSON that is called HTML: under `constituentsDiv` there are
HTML tables with the columns Name (`Bitcoin BTC`) and Market cap (`$1,234,567`).
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from typing import Any, Final

from quasar import errors
from quasar.provider import AssetClass, Constituent, HttpOptions, Preference, Provider, Unsupported

PATH: Final = "/ajax/getConstituentsDivProd.php"
_TICKER = re.compile(r"\b[A-Z0-9]{2,10}\b")
_NUMBER = re.compile(r"[0-9][0-9,]*(?:\.[0-9]+)?")


class Cci30(Provider):
    """The members of the CCI30 index of crypto assets and their weights."""

    name = "cci30"
    version = "1"
    rate_limit = (10, 60.0)
    concurrency = 1
    hosts = ("cci30.com",)
    asset_classes = ("crypto",)
    calendar = "24/7"
    indices = ("CCI30",)
    http_options = HttpOptions(timeout_s=30.0)

    base_url = Preference("https://cci30.com", description="Where the index's page is.", needs_restart=True)

    async def constituents(self, index: str, as_of: dt.date | None) -> Sequence[Constituent]:
        """Return the members of today; former ones are not published."""
        if index not in ("", *self.indices):
            raise errors.NotFound(f"the index must be CCI30, was {index!r}")
        if as_of is not None and as_of != self.clock.now().date():
            raise Unsupported(f"CCI30 tells the members of today only, asked was {as_of.isoformat()}")
        answer = await self.http.json(f"{self.base_url}{PATH}")
        html = answer.get("constituentsDiv") if isinstance(answer, dict) else None
        if not isinstance(html, str):
            raise errors.VendorFailed(f"CCI30 must answer with constituentsDiv, was {str(answer)[:200]!r}")
        return parse_constituents(html)


def parse_constituents(html: str) -> list[Constituent]:
    """Read the tables: the last word of capitals is the symbol (`UNUS SED LEO LEO`), the rest of the cell the name.

    Raises:
        VendorFailed: There is no such table, or a row of it cannot be read; an index without a member is no answer.
    """
    rows = [_member(cells) for table in _tables(html) for cells in _named(table)]
    if not rows:
        raise errors.VendorFailed("CCI30 must show a table with the columns Name and Market cap, showed none")
    total = sum(math.sqrt(value) for _, _, value in rows)
    return [
        Constituent(
            symbol=symbol,
            weight=math.sqrt(value) / total,
            name=name or None,
            asset_class=AssetClass.CRYPTO,
            base_currency=symbol,
            quote_currency="USD",
        )
        for symbol, name, value in rows
    ]


def _member(cells: dict[str, str]) -> tuple[str, str, float]:
    text = cells["name"]
    tickers, number = list(_TICKER.finditer(text)), _NUMBER.search(cells["market cap"])
    if not tickers or number is None or not float(number[0].replace(",", "")):
        raise errors.VendorFailed(f"a member of CCI30 must have a symbol and a market value, was {cells}")
    ticker = tickers[-1]
    name = " ".join((text[: ticker.start()] + text[ticker.end() :]).split())
    return ticker[0], name, float(number[0].replace(",", ""))


def _named(table: list[list[str]]) -> Iterator[dict[str, str]]:
    heads = [cell.lower() for cell in table[0]] if table else []
    if "name" in heads and "market cap" in heads:
        yield from (dict(zip(heads, cells, strict=False)) for cells in table[1:] if len(cells) >= len(heads))


def _tables(html: str) -> list[list[list[str]]]:
    reader = _TableReader()
    reader.feed(html)
    reader.close()
    return reader.tables


class _TableReader(HTMLParser):
    """Collects the texts of cells, by table and row."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self._cell: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            if self.tables and self.tables[-1]:
                self.tables[-1][-1].append(" ".join(" ".join(self._cell).split()))
            self._cell = None
