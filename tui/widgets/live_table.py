"""A table that is brought in step with rows: only cells that changed are painted, the cursor stays where it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text
from textual.widgets import DataTable

from tui.rows import Row
from tui.views import View


class LiveTable(DataTable[Text]):
    """A table of a view."""

    def __init__(self, **options: Any) -> None:
        """Begin empty."""
        super().__init__(cursor_type="row", zebra_stripes=True, **options)
        self._shown: dict[str, Row] = {}
        self._view: View | None = None

    @property
    def current_key(self) -> str | None:
        """The key of the row under the cursor."""
        if not self.row_count:
            return None
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value

    def open_view(self, view: View) -> None:
        """Show another view, empty at first."""
        self._view = view
        self._shown = {}
        self.clear(columns=True)
        for column in view.columns:
            self.add_column(column, key=column)

    def show(self, rows: Sequence[Row]) -> None:
        """Bring the table in step with rows."""
        if [row.key for row in rows] != list(self._shown):
            self._replace(rows)
            return
        assert self._view is not None
        for row in rows:
            former = self._shown[row.key]
            if former.cells == row.cells:
                continue
            for name, cell, old in zip(self._view.columns, row.cells, former.cells, strict=False):
                if cell != old or cell.style != old.style:
                    self.update_cell(row.key, name, cell, update_width=True)
            self._shown[row.key] = row

    def _replace(self, rows: Sequence[Row]) -> None:
        chosen, top = self.current_key, self.scroll_y
        self.clear()
        for row in rows:
            self.add_row(*row.cells, key=row.key)
        self._shown = {row.key: row for row in rows}
        if chosen in self._shown:
            self.move_cursor(row=list(self._shown).index(chosen), scroll=False)
            self.scroll_to(y=top, animate=False)
