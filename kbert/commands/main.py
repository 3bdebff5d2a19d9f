"""Find the command that was asked for, and hand it the flags."""

import difflib
import importlib
import sys
from collections.abc import Sequence

import kbert
from kbert import cli

# Name, and what `kbert --help` says of it. `kbert.commands.<name>` has its `Flags`, and
# `run`, which takes them.
COMMANDS = {
    "train": "FILE            train a model on labelled texts, and report on it",
    "evaluate": "RUN FILE        measure it on other labelled texts",
    "predict": "RUN FILE        add predictions to a table (-: texts on stdin)",
    "explain": 'RUN "TEXT"      show which words a prediction hangs on',
    "report": "RUN             write its report anew, and show the figures",
    "export": "RUN             write the model for other libraries",
    "inspect": "FILE            find what is wrong with data; --fix writes it mended",
    "presets": "                list the encoders to start from",
}
HELP = """\
usage: kbert COMMAND [FLAGS]

Fine-tune BERT encoders on your own texts.

  kbert train reviews.csv --text review --label stars --out runs/stars
  kbert predict runs/stars new.csv --out predicted.csv

commands:
{commands}

flags:
  --help                   this page; after a command: all of its flags
  --version                the version
  --print-completion SHELL completion for bash, zsh or fish, to be sourced

--json: one JSON object on standard output; --debug: where an error comes from.
Exit codes: 0 done, 1 failed, 2 a wrong flag or command, 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: command and flags; `None` means those of this process.

    Returns:
        Exit code: 0 done, 1 failed, 2 a wrong command, flag or value, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(write_help(), end="")
        return cli.EXIT_OK if arguments else cli.EXIT_USAGE
    name, *rest = arguments
    if name == "--version":
        print(f"kbert {kbert.__version__}")
        return cli.EXIT_OK
    if name == "--print-completion":
        from kbert.commands.completion import print_completion

        return print_completion(rest, COMMANDS)
    if name not in COMMANDS:
        print(f"error: {_describe_unknown(name)}", file=sys.stderr)
        return cli.EXIT_USAGE
    command = importlib.import_module(f"kbert.commands.{name}")
    return cli.run_recipe(command.Flags, command.run, rest, prog=f"kbert {name}")


def write_help() -> str:
    """Return what `kbert --help` prints; it fits on a screen."""
    lines = [f"  {name:<9} {words}" for name, words in COMMANDS.items()]
    return HELP.format(commands="\n".join(lines))


def _describe_unknown(name: str) -> str:
    nearest = difflib.get_close_matches(name.strip("-"), COMMANDS, n=1)
    guess = f"Did you mean kbert {nearest[0]}?" if nearest else "See kbert --help."
    kind = "flag" if name.startswith("-") else "command"
    return f"unknown {kind} {name!r}. {guess}"
