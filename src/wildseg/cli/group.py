"""A group of commands that are imported when they are used, and whose errors are one line."""

from __future__ import annotations

import errno
import importlib
import signal
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from wildseg.core.errors import WildsegError, one_line

FULL = (errno.ENOSPC, errno.EDQUOT)


class Section(NamedTuple):
    """A heading of the help and its commands, which `module` holds in a click group called ``group``."""

    title: str
    module: str
    names: tuple[str, ...]


class LazyGroup(click.Group):
    """The commands of some sections; a user's mistake becomes one line and exit code 1, a bug keeps its traceback."""

    def __init__(self, *, sections: Sequence[Section] = (), **options: Any) -> None:  # noqa: ANN401
        """Take the sections in the order of the help, and what `click.Group` accepts."""
        super().__init__(**options)
        self._sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands in the order of the help."""
        return [name for section in self._sections for name in section.names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command and return the command; None if there is no such command."""
        for section in self._sections:
            if cmd_name in section.names:
                commands: click.Group = importlib.import_module(section.module).group
                return commands.get_command(ctx, cmd_name)
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list of commands for each section, with all descriptions in one column."""
        width = max(map(len, self.list_commands(ctx)))
        for section in self._sections:
            commands = [command for name in section.names if (command := self.get_command(ctx, name))]
            limit = formatter.width - 6 - width
            rows = [(f"{command.name:<{width}}", command.get_short_help_str(limit)) for command in commands]
            with formatter.section(section.title):
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        """Run the command of `ctx`, and report what it raises."""
        try:
            return super().invoke(ctx)
        except WildsegError as error:
            _fail(str(error))
        except KeyboardInterrupt:
            from wildseg.execution import interruption

            click.echo(interruption.stopped(signal.SIGINT), err=True, nl=False)
            sys.exit(interruption.CODES[signal.SIGINT])
        except BrokenPipeError:
            raise  # the reader of a pipe has gone: click ends quietly
        except OSError as error:
            # A full disk, a read-only folder, a file that vanished: the system's message says what and where.
            where = f"{error.filename}: " if error.filename else ""
            what_to_do = "; make room, then run the same again" if error.errno in FULL else ""
            _fail(f"{where}{error.strerror or error}{what_to_do}")
        except Exception as error:  # each library has an error of its own for memory that ran out
            from wildseg.execution import out_of_memory

            if (line := out_of_memory.describe(error, ctx.invoked_subcommand)) is None:
                raise
            _fail(line)


def _fail(message: str) -> None:
    click.secho("wildseg: error: ", fg="red", bold=True, err=True, nl=False)
    # The message may quote a server or the name of a file: no control character of it reaches the terminal.
    click.echo(one_line(" ".join(line.strip() for line in message.strip().splitlines())), err=True)
    sys.exit(1)
