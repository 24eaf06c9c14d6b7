"""The sheet of keys, made from the bindings that are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rich.table import Table
from textual.app import ComposeResult
from textual.binding import ActiveBinding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.views import VIEWS


class Help(ModalScreen[None]):
    """Shows keys and commands; any of escape, q and ? closes it."""

    DEFAULT_CSS = """
    Help { align: center middle; }
    Help > VerticalScroll { width: 84; height: 80%; padding: 1 2; background: $panel; border: thick $accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,question_mark", "dismiss(None)", "Close")]

    def __init__(self, bindings: Mapping[str, ActiveBinding]) -> None:
        """Show the bindings."""
        super().__init__()
        self._bindings_shown = bindings

    def compose(self) -> ComposeResult:
        """Lay out the sheet."""
        sheet = Table.grid(padding=(0, 2))
        for view in VIEWS:
            sheet.add_row(f"[bold]{view.key}[/]", f":{view.alias}", view.title, view.actions)
        sheet.add_row("", "", "", "")
        views = {view.key for view in VIEWS}
        for key, active in self._bindings_shown.items():
            if key not in views and active.binding.description:
                sheet.add_row(f"[bold]{active.binding.key_display or key}[/]", "", active.binding.description, "")
        sheet.add_row("[bold]/[/]", "", "text (regular expression), /!text inverse, /-f text fuzzy", "")
        with VerticalScroll():
            yield Static(sheet)
