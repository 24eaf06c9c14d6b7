"""The entry point `quasar`: one command, errors as one sentence with the remedy on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from quasar.cli import code, database, demo, dev, platform, secrets, services, tokens
from quasar.environment import BadSetting
from quasar.errors import QuasarError

FAILED, BAD_SETTING, INTERRUPTED = 1, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Quasar: self-hosted market data and strategies.

    `quasar up` starts everything on this machine; `quasar COMMAND --help` explains a command. Settings are environment
    variables; QUASAR_HOME names the folder that everything is kept in (~/.quasar).
    """


for command in (
    *platform.COMMANDS,
    demo.demo,
    dev.dev,
    *code.COMMANDS,
    tokens.token,
    database.db,
    secrets.secrets,
    *services.COMMANDS,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    Args:
        arguments: Without the program's name; those of the process when absent.
    """
    try:
        code = cli.main(arguments, prog_name="quasar", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BadSetting as error:
        return _say(error.message, BAD_SETTING)
    except QuasarError as error:
        return _say(error.message, FAILED)
    except BrokenPipeError:
        # Whoever read the output, `head` perhaps, has what it wanted; Python must not complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror or error}.", FAILED)


def _say(message: str, code: int) -> int:
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {message}", err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
