"""`kbert --print-completion SHELL`: let the shell complete commands and flags."""

import importlib
import sys
from collections.abc import Mapping, Sequence

from kbert import cli

_BASH = """\
# kbert: completion of commands, flags and file names.
_kbert() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}"
  local words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{commands}"
  else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=()
  case "$word" in
    -*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
    *) if [ "$COMP_CWORD" -eq 1 ]; then
         COMPREPLY=($(compgen -W "$words" -- "$word"))
       else
         COMPREPLY=($(compgen -f -- "$word"))
       fi ;;
  esac
}}
complete -o filenames -F _kbert kbert
"""
_ZSH = "autoload -Uz bashcompinit && bashcompinit\n"
SHELLS = ("bash", "zsh", "fish")


def print_completion(argv: Sequence[str], commands: Mapping[str, str]) -> int:
    """Print a completion script.

    Args:
        argv: what follows the flag.
        commands: name to what it does.

    Returns:
        Exit code.
    """
    if len(argv) != 1 or argv[0] not in SHELLS:
        given = argv[0] if argv else "nothing"
        print(
            f"error: --print-completion takes {', '.join(SHELLS)}; received {given}.",
            file=sys.stderr,
        )
        return cli.EXIT_USAGE
    print(write_completion(argv[0], commands), end="")
    return cli.EXIT_OK


def write_completion(shell: str, commands: Mapping[str, str]) -> str:
    """Write a completion script.

    Args:
        shell: one of `SHELLS`.
        commands: name to what it does.

    Returns:
        The script, to be sourced.
    """
    flags = {name: ["--help", "--debug", *_find_flags(name)] for name in commands}
    if shell == "fish":
        return _write_fish(flags)
    cases = "\n".join(
        f'      {name}) words="{" ".join(words)}" ;;' for name, words in flags.items()
    )
    script = _BASH.format(commands=" ".join(commands), cases=cases)
    return _ZSH + script if shell == "zsh" else script


def _find_flags(command: str) -> list[str]:
    module = importlib.import_module(f"kbert.commands.{command}")
    return list(cli.find_flags(module.Flags))


def _write_fish(flags: Mapping[str, Sequence[str]]) -> str:
    names = " ".join(flags)
    lines = [
        "# kbert: completion of commands, flags and file names.",
        f"complete -c kbert -n __fish_use_subcommand -f -a '{names}'",
    ]
    for name, words in flags.items():
        condition = f"'__fish_seen_subcommand_from {name}'"
        for word in words:
            lines.append(f"complete -c kbert -n {condition} -l {word.strip('-')}")
    return "\n".join(lines) + "\n"
