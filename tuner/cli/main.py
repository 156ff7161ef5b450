"""The `tuner` console script: finds the command by name, imports only that one, and turns errors into exit codes.

`tuner --help` imports no command at all: its lines come from `COMMANDS`.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from tuner import __version__
from tuner.cli.plain import plain
from tuner.cli.streams import is_reader_gone, prepare_streams, say
from tuner.errors import TryAgainLater, TunerError, is_disk_full
from tuner.failpoints import armed

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives, and its line in `tuner --help` (the first line of its docstring)."""

    module: str
    function: str
    help: str


COMMANDS = {
    "init": Entry("tuner.cli.init", "init_command", "Write a study YAML that runs as it stands, every line explained."),
    "check": Entry("tuner.cli.check", "check_command", "Validate a study and print what it will run."),
    "run": Entry("tuner.cli.run", "run_command", "Run a study's protocol; goes on if the study was interrupted."),
    "resume": Entry("tuner.cli.run", "resume_command", "Go on with an interrupted study from the database alone."),
    "extend": Entry(
        "tuner.cli.extend", "extend_command", "Give a study more: trials, seeds, rounds, budget, a point of your own."
    ),
    "answer": Entry("tuner.cli.answer", "answer_command", "Print the answer of a study, or the best so far."),
    "status": Entry("tuner.cli.status", "status_command", "Show where a study stands, or list all studies."),
    "trials": Entry("tuner.cli.trials", "trials_command", "List every trial of a study."),
    "best-steps": Entry(
        "tuner.cli.best_steps", "best_steps_command", "Draw where the best checkpoints of each phase fell."
    ),
    "report": Entry(
        "tuner.cli.report", "report_command", "Write the HTML report of a study with its figures and tables."
    ),
    "frontier": Entry(
        "tuner.cli.frontier", "frontier_command", "Measure what other budgets reach, by cooldowns from one trunk."
    ),
    "export": Entry(
        "tuner.cli.export", "export_command", "Write the best checkpoint as a model folder with a model card."
    ),
    "verify": Entry("tuner.cli.verify", "verify_command", "Check every invariant of a stored study, with counts."),
    "gc": Entry("tuner.cli.gc", "gc_command", "Remove files that no study reaches; safe beside running workers."),
    "doctor": Entry(
        "tuner.cli.doctor", "doctor_command", "Try what a study needs here: versions, disk, locks, devices, precisions."
    ),
    "schema": Entry("tuner.cli.schema", "schema_command", "Print the JSON Schema of the study YAML."),
}


class EarlyInterruptError(Exception):
    """Ctrl-C before a command could answer it itself; typer would end it silently."""


class TunerCommands(TyperGroup):
    """The commands by name; the module of a command is imported when the command is called."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise EarlyInterruptError from None

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(cmd_name, help=None)(getattr(import_module(entry.module), entry.function))
        return typer.main.get_command(app)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


app = typer.Typer(cls=TunerCommands, add_completion=False, rich_markup_mode=None, no_args_is_help=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tuner {__version__}")
        raise typer.Exit


@app.callback(context_settings={"help_option_names": ["-h", "--help"]})
def tuner(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find out how many steps to train for, and whether what holds in short runs holds in long ones.

    \b
    tuner check studies/quickstart.yaml     what would it run?
    tuner run studies/quickstart.yaml       run it; run it again to go on
    tuner report quickstart                 the answer with its evidence
    """


def build_group() -> TyperGroup:
    """The click group with all commands known by name and none imported."""
    group = typer.main.get_group(app)
    for name, entry in COMMANDS.items():
        group.add_command(TyperCommand(name, help=entry.help))
    return group


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    try:
        exit_code = run_command_line(arguments)
    except KeyboardInterrupt:
        exit_code = _tell("interrupted", INTERRUPTED)
    sys.exit(exit_code)


def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 1 a bug, 2 the user's mistake, 3 no answer, 75 try again, 130."""
    prepare_streams()
    exit_code = _run(arguments)
    is_reader_gone()
    return exit_code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        armed()
        result = build_group().main(args=arguments, prog_name="tuner", standalone_mode=False)
    except typer.TyperException as error:
        return _show_usage(error)
    except TunerError as error:
        return _tell(str(error), error.exit_code)
    except (KeyboardInterrupt, EarlyInterruptError, typer.Abort):
        return _tell("interrupted", INTERRUPTED)
    except SystemExit as ended:
        return _end_of_pipe(ended)
    except Exception as error:
        if is_disk_full(error):
            return _tell("the disk is full; free some space and run the same command again", TryAgainLater.exit_code)
        _show_bug(error)
        return 1
    return result if isinstance(result, int) else 0


def _end_of_pipe(ended: SystemExit) -> int:
    """Typer exits with 1 on every broken pipe; a reader of stdout who has seen enough (`| head`) is no error."""
    cause = ended.__context__
    if not isinstance(cause, OSError) or cause.errno != errno.EPIPE:
        raise ended
    # Typer has wrapped the streams; the wrapper would hide the closed pipe from us.
    sys.stdout, sys.stderr = (getattr(stream, "wrapped", stream) for stream in (sys.stdout, sys.stderr))
    if is_reader_gone():
        return 0
    _show_bug(cause)
    return 1


def _show_bug(error: BaseException) -> None:
    """The traceback, for whoever mends it; names and texts in it are as harmless as elsewhere."""
    for line in "".join(traceback.format_exception(error)).rstrip("\n").split("\n"):
        say(plain(line))


def _tell(message: str, exit_code: int) -> int:
    for line in message.splitlines() or [type(message).__name__]:
        say(f"tuner: {plain(line)}")
    return exit_code


def _show_usage(error: typer.TyperException) -> int:
    show = getattr(error, "show", None)
    if show is None:
        return _tell(error.format_message(), error.exit_code)
    show()
    return error.exit_code


if __name__ == "__main__":
    main()
