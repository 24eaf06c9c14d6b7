"""The console as a Textual application: one table, ten views, keys that operators know from k9s."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import ClassVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Footer, Input, Static

from quasar import errors
from quasar.clock import Clock, SystemClock
from tui import filters
from tui.commands import Commands
from tui.feeds import Feeds
from tui.session import Session
from tui.store import Store
from tui.views import VIEWS, View, view_of
from tui.widgets.confirm import Confirm
from tui.widgets.help import Help
from tui.widgets.live_table import LiveTable

REPAINT_S = 0.25
TRADING = {
    "halt": "Halt trading? Every new order is denied until it is resumed.",
    "resume": "Resume trading? Strategies and people may place orders again.",
}
OF_THE_TABLE = ("view", "filter", "command", "help", "last_view", "pause", "faults", "act")
DANGEROUS = {"remove": "Remove the subscription? Its bars stay.", "stop": "Stop the instance and cancel its orders?"}

_log = logging.getLogger(__name__)


def _key(key: str, action: str, title: str, name: str, *, show: bool = False) -> Binding:
    return Binding(key, action, title, id=name, show=show, priority=True)


class Console(App[None]):
    """The operators' console."""

    TITLE = "Quasar"
    CSS = """
    #banner { height: 1; padding: 0 1; background: $panel; }
    #prompt { display: none; height: 3; border: tall $accent; }
    #prompt.-shown { display: block; }
    #state { height: 1; padding: 0 1; color: $text-muted; }
    LiveTable { height: 1fr; }
    """
    # All but escape before what has the focus: keys that come in one burst work in the order in which they were typed.
    BINDINGS: ClassVar[list[BindingType]] = [
        *(_key(view.key, f"view('{view.alias}')", view.title, view.alias) for view in VIEWS),
        _key("slash", "filter", "Filter", "filter", show=True),
        _key("colon", "command", "Command", "command", show=True),
        _key("question_mark", "help", "Help", "help", show=True),
        Binding("escape", "step_back", "Back", id="back", show=False),
        _key("minus", "last_view", "Last view", "last"),
        _key("p", "pause", "Pause", "pause", show=True),
        _key("ctrl+z", "faults", "Faults", "faults", show=True),
        _key("e", "act('pause')", "Pause/resume row", "row-pause"),
        _key("ctrl+d", "act('remove')", "Remove row", "row-remove"),
        _key("x", "act('cancel')", "Cancel row", "row-cancel"),
        _key("R", "act('retry')", "Retry row", "row-retry"),
        _key("b", "act('backfill')", "Back-fill row", "row-backfill"),
        _key("s", "act('start')", "Start row", "row-start"),
        _key("S", "act('stop')", "Stop row", "row-stop"),
        _key("t", "act('restart')", "Restart row", "row-restart"),
        _key("ctrl+c", "quit", "Quit", "quit", show=True),
    ]

    def __init__(self, session: Session | None, store: Store | None = None, clock: Clock | None = None) -> None:
        """Show a store.

        Args:
            session: Fills the store; None: somebody else does, as in tests.
            store: What is shown.
            clock: The time that ages are counted from.
        """
        super().__init__()
        self.session = session
        self.store = store or Store()
        self.clock = clock or SystemClock()
        self.view: View = VIEWS[0]
        self._former: View = VIEWS[0]
        self._filter = ""
        self._faults_only = False
        self._paused = False
        self._painted = -1
        self._painted_at = 0.0
        self._asking = ""

    def compose(self) -> ComposeResult:
        """Lay out banner, table, prompt and footer."""
        yield Static(id="banner")
        with Vertical():
            yield LiveTable(id="table")
        yield Static(id="state")
        yield Input(id="prompt")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to fill and to paint."""
        self.theme = "textual-dark"
        self.table.open_view(self.view)
        self.table.focus()
        self.set_interval(REPAINT_S, self.repaint)
        if self.session is not None:
            self.fill()
        self.repaint()

    @property
    def table(self) -> LiveTable:
        """The table."""
        return self.query_one("#table", LiveTable)

    @work(exclusive=True, group="feeds")
    async def fill(self) -> None:
        """Fill the store for as long as the console runs."""
        assert self.session is not None
        async with self.session:
            await Feeds(self.session, self.store, self.clock).run()

    def repaint(self) -> None:
        """Bring the screen in step with the store, at most four times a second and only when something changed."""
        # The timer is the app's own and outlives the screen's widgets for a moment while the console closes.
        if len(self.query("#banner, #table, #state")) < 3:
            return
        now = self.clock.monotonic()
        self._banner()
        if self._paused or (self._painted == self.store.changes and now - self._painted_at < 1.0):
            return
        self._painted, self._painted_at = self.store.changes, now
        matches = filters.compiled(self._filter)
        rows = [
            row
            for row in self.view.build(self.store, self.clock.now())
            if (row.fault or not self._faults_only) and matches(row.text)
        ]
        with self.batch_update():
            self.table.show(rows)
        self._state(len(rows))

    def _banner(self) -> None:
        worst, error = self.store.worst_link, ""
        if worst is None:
            link = "[green]● live[/]" if self.store.links else "[cyan]◐ connecting[/]"
        else:
            name, how = worst
            last = f" (last {how.last:%H:%M:%S})" if how.last else ""
            link, error = f"[yellow]◐ {name}: {how.state}{last}[/] $error", how.error[:90]
        pause = " [reverse] PAUSED [/]" if self._paused else ""
        faults = " [reverse] FAULTS [/]" if self._faults_only else ""
        halted = self._trading()
        title = f"[bold]Quasar[/] › {self.view.title}"
        # What others wrote must not be taken for markup.
        told = Content.from_markup(f"{title}   {link}{halted}{pause}{faults}", error=error)
        self.query_one("#banner", Static).update(told)

    def _trading(self) -> str:
        trading = self.store.trading_state
        name = trading.state.name if trading is not None else "ACTIVE"
        if name == "HALTED":
            return " [white on red] TRADING HALTED [/]"
        return " [black on yellow] REDUCE ONLY [/]" if name == "REDUCE_ONLY" else ""

    def _state(self, rows: int) -> None:
        if rows:
            cut = " of more, the first ones" if self.view.source in self.store.cut else ""
            text = f"{rows} {'row' if rows == 1 else 'rows'}{cut}"
        elif self._filter or self._faults_only:
            text = "No row passes the filter; esc clears it."
        elif self.view.source in self.store.loaded:
            text = self.view.empty
        else:
            text = "Loading …"
        chosen = f"   filter: {self._filter}" if self._filter else ""
        keys = f"   {self.view.actions}" if self.view.actions and not self._read_only else ""
        self.query_one("#state", Static).update(Content(f"{text}{chosen}{keys}"))

    @property
    def _read_only(self) -> bool:
        return self.session is not None and self.session.settings.read_only

    def action_view(self, alias: str) -> None:
        """Open a view."""
        view = view_of(alias)
        if view is None:
            self.notify(f"There is no view {alias!r}; ? lists them.", severity="warning")
            return
        if view is not self.view:
            self._former, self.view = self.view, view
            self._filter = ""
            self.table.open_view(view)
        self._painted = -1
        self.repaint()

    def action_last_view(self) -> None:
        """Go to the view before."""
        self.action_view(self._former.alias)

    def action_pause(self) -> None:
        """Stop painting, or go on; what comes is kept in any case."""
        self._paused = not self._paused
        self._painted = -1
        self.repaint()

    def action_faults(self) -> None:
        """Show only rows that need a look, or all."""
        self._faults_only = not self._faults_only
        self._painted = -1
        self.repaint()

    def action_filter(self) -> None:
        """Ask for a filter."""
        self._ask("/", self._filter)

    def action_command(self) -> None:
        """Ask for a command."""
        self._ask(":", "")

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Help(self.active_bindings))

    def action_step_back(self) -> None:
        """Close the prompt, else clear the filter."""
        if self._asking:
            self._close_prompt()
        else:
            self._filter, self._faults_only = "", False
            self._painted = -1
            self.repaint()

    def _ask(self, kind: str, value: str) -> None:
        self._asking = kind
        prompt = self.query_one("#prompt", Input)
        prompt.value = value
        hints = {"/": "filter: a regular expression, !inverse, -f fuzzy", ":": "view, halt, resume, or q to quit"}
        prompt.placeholder = hints[kind]
        prompt.add_class("-shown")
        self.screen.set_focus(prompt)

    def _close_prompt(self) -> None:
        self._asking = ""
        self.query_one("#prompt", Input).remove_class("-shown")
        self.screen.set_focus(self.table)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take a filter or a command."""
        kind, text = self._asking, event.value.strip()
        self._close_prompt()
        if kind == "/":
            self._filter = text
            self._painted = -1
            self.repaint()
            return
        name, _, rest = text.partition(" ")
        if name in ("q", "quit", "q!"):
            self.exit()
        elif name in TRADING:
            self._ask_trading(name)
        elif name:
            self.action_view(name)
            self._filter = rest
            self._painted = -1
            self.repaint()

    def _ask_trading(self, word: str) -> None:
        if self.session is None or self._refused():
            return

        def answered(sure: bool | None) -> None:
            if sure:
                self._set_trading(word)

        self.push_screen(Confirm(TRADING[word], "the whole platform"), answered)

    @work(group="actions")
    async def _set_trading(self, word: str) -> None:
        assert self.session is not None
        commands = Commands(self.session, self.store)
        await self._carry_out(commands.halt() if word == "halt" else commands.resume())

    def _refused(self) -> bool:
        if self._read_only:
            self.notify("The console was started with --readonly.", severity="warning")
        return self._read_only

    def action_act(self, action: str) -> None:
        """Do something to the row under the cursor; what cannot be undone is asked first."""
        key = self.table.current_key
        if self.session is None or key is None or self._refused():
            return
        question = DANGEROUS.get(action)
        if question is None:
            self._do(action, key)
            return

        def answered(sure: bool | None) -> None:
            if sure:
                self._do(action, key)

        self.push_screen(Confirm(question, key), answered)

    @work(group="actions")
    async def _do(self, action: str, key: str) -> None:
        assert self.session is not None
        await self._carry_out(Commands(self.session, self.store).act(self.view.alias, action, key))

    async def _carry_out(self, command: Awaitable[str]) -> None:
        try:
            told = await command
        except errors.QuasarError as error:
            self.notify(error.message, title=error.reason, severity="error", timeout=10, markup=False)
            return
        if told:
            self.notify(told, markup=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keep row actions from a console for looking only; a prompt or a question has the keys for itself."""
        if action == "act" and self._read_only:
            return False
        if action in OF_THE_TABLE and (self._asking or len(self.screen_stack) > 1):
            return False
        return super().check_action(action, parameters)
