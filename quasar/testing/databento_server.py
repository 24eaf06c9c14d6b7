"""Databento's historical service played by a local server: recorded DBN, cut to what is asked and encoded anew.

The encoders are the vendor's own (`databento_dbn`); without the library there is no such server.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from quasar.model.instants import TimeRange, from_ns
from quasar.testing.local_server import LocalServer

DEMO_KEY: Final = "db-" + "0" * 29
"""A key of the right form that only this server takes."""


class DatabentoServer(LocalServer):
    """Answers `timeseries.get_range` and `metadata.get_dataset_range`."""

    def __init__(
        self,
        recorded: Mapping[tuple[str, str], Sequence[Any]],
        ranges: Mapping[str, TimeRange],
        *,
        key: str = DEMO_KEY,
        port: int = 0,
    ) -> None:
        """Play recordings.

        Args:
            recorded: Stores of DBN records (`databento.DBNStore`) by dataset and schema.
            ranges: What each dataset has.
            key: The only API key that is accepted.
            port: Port to listen on; 0: a free one.
        """
        super().__init__(port)
        self._recorded = recorded
        self._ranges = ranges
        self._key = key

    @property
    def base_url(self) -> str:
        """What stands for https://hist.databento.com."""
        return f"http://127.0.0.1:{self.port}"

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the two methods."""
        return [
            web.post("/v0/timeseries.get_range", self._range),
            web.get("/v0/metadata.get_dataset_range", self._dataset),
        ]

    def asked(self, request: web.Request) -> str:
        """Count by method."""
        return request.path.removeprefix("/v0/")

    async def _dataset(self, request: web.Request) -> web.Response:
        if (refusal := self._refused(request)) is not None:
            return refusal
        there = self._ranges.get(request.query.get("dataset", ""))
        if there is None:
            return _problem(422, "data_invalid_dataset", "The dataset is not known.")
        return web.json_response({"start": _text(there.start_ns), "end": _text(there.end_ns)})

    async def _range(self, request: web.Request) -> web.Response:
        if (refusal := self._refused(request)) is not None:
            return refusal
        form = {name: str(value) for name, value in (await request.post()).items()}
        there = self._ranges.get(form["dataset"])
        if there is None:
            return _problem(422, "data_invalid_dataset", "The dataset is not known.")
        wanted = TimeRange(int(form["start"]), int(form["end"]))
        if wanted.end_ns > there.end_ns:
            text = f"The dataset {form['dataset']} has data available up to {_text(there.end_ns)}."
            return _problem(422, "data_end_after_available_end", text)
        stores = self._recorded.get((form["dataset"], form["schema"]), ())
        symbol = form["symbols"]
        stores = [one for one in stores if symbol in ("ALL_SYMBOLS", *one.symbols)]
        if not stores:
            return _problem(422, "symbology_invalid_request", "None of the symbols could be resolved")
        return self._encoded(stores, form, wanted)

    def _refused(self, request: web.Request) -> web.Response | None:
        expected = "Basic " + base64.b64encode(f"{self._key}:".encode()).decode()
        if request.headers.get("Authorization") == expected:
            return None
        return _problem(401, "auth_authentication_failed", "Authentication failed.")

    def _encoded(self, stores: Sequence[Any], form: Mapping[str, str], wanted: TimeRange) -> web.Response:
        import databento_dbn as dbn
        import zstandard

        records = [record for store in stores for record in store if wanted.start_ns <= record.ts_index < wanted.end_ns]
        metadata = dbn.Metadata(
            dataset=form["dataset"],
            start=wanted.start_ns,
            end=wanted.end_ns,
            schema=dbn.Schema.from_str(form["schema"]),
            stype_in=dbn.SType.from_str(form["stype_in"]),
            stype_out=dbn.SType.from_str(form["stype_out"]),
            symbols=[] if form["symbols"] == "ALL_SYMBOLS" else [form["symbols"]],
        )
        body = bytes(metadata) + b"".join(bytes(record) for record in records)
        told = {} if records else {"X-Warning": '["Warning: No data found for the request you submitted."]'}
        return web.Response(
            body=zstandard.ZstdCompressor().compress(body), headers=told, content_type="application/octet-stream"
        )


def _problem(status: int, case: str, message: str) -> web.Response:
    detail = {"case": case, "message": message, "status_code": status, "docs": "", "payload": {}}
    return web.json_response({"detail": detail}, status=status)


def _text(time_ns: int) -> str:
    return f"{from_ns(time_ns):%Y-%m-%dT%H:%M:%S}.{time_ns % 1_000_000_000:09d}Z"
