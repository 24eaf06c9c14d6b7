"""Asks before something that cannot be undone: the answer is tab and enter, never a single key."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Label


class Confirm(ModalScreen[bool]):
    """Returns whether the operator is sure."""

    DEFAULT_CSS = """
    Confirm { align: center middle; }
    Confirm > Vertical { width: 64; height: auto; padding: 1 2; background: $panel; border: thick $error; }
    Confirm Horizontal { height: auto; margin-top: 1; align-horizontal: right; }
    Confirm Button { margin-left: 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(False)", "No")]

    def __init__(self, question: str, subject: str) -> None:
        """Ask about a subject."""
        super().__init__()
        self._question = question
        self._subject = subject

    def compose(self) -> ComposeResult:
        """Lay out the question; No has the focus."""
        with Vertical():
            yield Label(self._question)
            yield Label(self._subject, markup=False)
            with Horizontal():
                yield Button("No", id="no", variant="primary")
                yield Button("Yes", id="yes", variant="error")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answer."""
        self.dismiss(event.button.id == "yes")
