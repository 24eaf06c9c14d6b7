"""Manifests as files: CSV, YAML and Parquet, plain or compressed, read into rows of texts by field."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from quasar.errors import FieldViolation, InvalidArgument
from registry.identities.rows import ALIASES_OF_FIELDS, FIELDS

FORMATS: Final = ("CSV", "YAML", "PARQUET")
LARGEST_UNPACKED: Final = 1024**3
"""Bytes that a compressed manifest may unfold to."""
_ENDINGS: Final[Mapping[str, str]] = {
    ".csv": "CSV",
    ".yaml": "YAML",
    ".yml": "YAML",
    ".parquet": "PARQUET",
    ".pq": "PARQUET",
}
_PARQUET_ROWS: Final = 20_000

Entry = tuple[int, Mapping[str, str]]


@dataclass(slots=True)
class ManifestFile:
    """An open manifest."""

    entries: Iterator[Entry]
    """Line (CSV, YAML) or row (Parquet), from 1, and the values by field."""
    unknown_columns: Sequence[str] = ()
    bad_lines: list[tuple[int, str]] = field(default_factory=list)
    """Lines that are no rows, filled while the entries are read."""


def format_of(file_name: str, wished: str = "") -> str:
    """Return the format of a file: the wished one, else told from the name's ending.

    Raises:
        InvalidArgument: It cannot be told.
    """
    if wished:
        return wished
    name = file_name.lower().removesuffix(".gz")
    for ending, found in _ENDINGS.items():
        if name.endswith(ending):
            return found
    raise _violation(
        "format", f"must be set, or the file name must end in {', '.join(_ENDINGS)}, was {file_name[:80]!r}"
    )


def read_manifest(content: bytes, kind: str, columns: Mapping[str, str]) -> ManifestFile:
    """Open a manifest.

    Args:
        content: The bytes of the file; CSV and YAML may be gzip-compressed.
        kind: One of `FORMATS`.
        columns: Column names of the file by field name, where they differ.

    Raises:
        InvalidArgument: The bytes are not of that format, or no column is one of a manifest.
    """
    if unknown := sorted(set(columns) - set(FIELDS) - set(ALIASES_OF_FIELDS)):
        raise _violation("columns", f"must name fields among {', '.join(FIELDS)}, was {unknown[0]!r}")
    if kind == "PARQUET":
        return _parquet(content, columns)
    text = _text(content)
    return _csv(text, columns) if kind == "CSV" else _yaml(text, columns)


def _text(content: bytes) -> str:
    if content[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
                content = packed.read(LARGEST_UNPACKED + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise _unreadable(f"gzip cannot be read ({error})") from None
        if len(content) > LARGEST_UNPACKED:
            raise _unreadable(f"it unfolds to more than {LARGEST_UNPACKED} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(f"byte {error.start} is no UTF-8") from None


def _field_by_column(names: Sequence[str], columns: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the field of each column that has one, and the columns that have none."""
    wished = {column: ALIASES_OF_FIELDS.get(name, name) for name, column in columns.items()}
    if missing := sorted(set(wished) - set(names)):
        raise _violation("columns", f"must name columns of the file ({', '.join(names)[:200]}), was {missing[0]!r}")
    taken = set(wished.values())
    found = dict(wished)
    # Where a file has both, `mic` is the exchange and `exchange` is some vendor's name for it.
    for name in sorted(names, key=lambda each: each.strip().lower() != "mic"):
        plain = name.strip().lower().replace(" ", "_")
        meant = ALIASES_OF_FIELDS.get(plain, plain)
        if name not in found and meant in FIELDS and meant not in taken:
            found[name] = meant
            taken.add(meant)
    if "symbol" not in taken:
        raise _unreadable(f"it must have a column 'symbol', had {', '.join(names)[:200]!r}")
    return found, [name for name in names if name not in found]


def _csv(text: str, columns: Mapping[str, str]) -> ManifestFile:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(rows)
    except (StopIteration, csv.Error):
        raise _unreadable("it must begin with a header line") from None
    meant, unknown = _field_by_column(header, columns)
    fields = [meant.get(name) for name in header]
    found = ManifestFile(iter(()), unknown)
    found.entries = _csv_entries(rows, fields, found.bad_lines)
    return found


def _csv_entries(rows: Any, fields: Sequence[str | None], bad_lines: list[tuple[int, str]]) -> Iterator[Entry]:
    line = rows.line_num + 1
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            bad_lines.append((line, f"must be a line of CSV: {error}"))
            line = rows.line_num + 1
            continue
        if len(cells) > len(fields):
            bad_lines.append((line, f"must have {len(fields)} columns, had {len(cells)}"))
        elif cells:
            yield line, {name: cell for name, cell in zip(fields, cells, strict=False) if name}
        line = rows.line_num + 1


def _yaml(text: str, columns: Mapping[str, str]) -> ManifestFile:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node = yaml.compose(text, Loader=loader)
    except yaml.YAMLError as error:
        raise _unreadable(f"it is no YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(node, yaml.SequenceNode):
        raise _unreadable("it must be a list of mappings")
    mappings = [item for item in node.value if isinstance(item, yaml.MappingNode)]
    keys = (key for item in mappings for key, _ in item.value)
    names = list(dict.fromkeys(key.value for key in keys if isinstance(key, yaml.ScalarNode)))
    meant, unknown = _field_by_column(names, columns)
    found = ManifestFile(iter(()), unknown)
    found.entries = _yaml_entries(node, meant, found.bad_lines)
    return found


def _yaml_entries(node: Any, meant: Mapping[str, str], bad_lines: list[tuple[int, str]]) -> Iterator[Entry]:
    for item in node.value:
        line = item.start_mark.line + 1
        if not isinstance(item, yaml.MappingNode):
            bad_lines.append((line, "must be a mapping"))
            continue
        named = [(key.value, value) for key, value in item.value if isinstance(key, yaml.ScalarNode)]
        yield line, {meant[name]: _yaml_text(value) for name, value in named if name in meant}


def _yaml_text(node: Any) -> str:
    """Return a value as text; a list of symbols is joined as a manifest joins them.

    Lists inside of lists mean nothing here, and by aliases a few lines of them unfold to more than a memory holds.
    """
    if isinstance(node, yaml.SequenceNode):
        return ";".join(_yaml_text(item) for item in node.value if isinstance(item, yaml.ScalarNode))
    if not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":null"):
        return ""
    return str(node.value)


def _parquet(content: bytes, columns: Mapping[str, str]) -> ManifestFile:
    # Loaded by the first Parquet file, not by every start of the service.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(f"it is no Parquet: {' '.join(str(error).split())[:200]}") from None
    meant, unknown = _field_by_column(file.schema_arrow.names, columns)
    return ManifestFile(_parquet_entries(file, meant), unknown)


def _parquet_entries(file: Any, meant: Mapping[str, str]) -> Iterator[Entry]:
    row = 0
    for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=list(meant)):
        table = batch.to_pydict()
        for index in range(batch.num_rows):
            row += 1
            yield row, {name: _plain(table[column][index]) for column, name in meant.items()}


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return ";".join(_plain(item) for item in value) if isinstance(value, list) else str(value)


def _unreadable(why: str) -> InvalidArgument:
    return _violation("content", f"must be readable as a manifest: {why}")


def _violation(name: str, description: str) -> InvalidArgument:
    return InvalidArgument(f"{name} {description}.", violations=[FieldViolation(name, description)])
