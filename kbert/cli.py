"""From the command line to one call: flags, exit codes and one-sentence errors."""

import contextlib
import dataclasses
import difflib
import io
import os
import signal
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Config = TypeVar("Config")

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
_KINDS = {int: "a whole number", float: "a number"}
_STRICT = ("strict", "surrogateescape")  # the latter where the locale is C
_EXPECTED_ERRORS = (OSError, RuntimeError, MemoryError)


def run_recipe(
    config_class: type[Config],
    run: Callable[[Config], Any],
    argv: Sequence[str] | None = None,
    *,
    prog: str | None = None,
    description: str | None = None,
    check: Callable[[Config], Any] | None = None,
) -> int:
    """Parse flags into a recipe's configuration and run it.

    Errors that a user can mend are one sentence on standard error; `--debug` shows
    the traceback of any of them. `KeyboardInterrupt` may carry a sentence that says
    what was kept.

    Args:
        config_class: dataclass; its fields become flags, their comments the help.
        run: called with the configuration.
        argv: flags; `None` means those of this process.
        prog: how the recipe is called, as `--help` shows it.
        description: what it does, as `--help` shows it.
        check: called with the configuration first; a `ValueError` of its is a wrong
            flag.

    Returns:
        Exit code: 0 done, 1 failed, 2 a wrong flag, value or data, 130 interrupted.
    """
    _let_print_anything()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    if valued := [one for one in arguments if one.startswith("--debug=")]:
        sentence = f"--debug takes no value; received {valued[0]!r}. Give it alone."
        return _fail(ValueError(sentence), EXIT_USAGE, debug)
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        try:
            config = parse(config_class, arguments, prog=prog, description=description)
            if check is not None:
                check(config)
        except SystemExit as stop:  # --help
            return int(stop.code or EXIT_OK)
        except ValueError as error:
            return _fail(error, EXIT_USAGE, debug)
        with _stopping_alike():
            run(config)
    except BrokenPipeError:
        return _stop_writing()
    except ValueError as error:  # data, or a value that only shows itself in the run
        return _fail(error, EXIT_USAGE, debug)
    except _EXPECTED_ERRORS as error:
        return _fail(error, EXIT_FAILED, debug)
    except KeyboardInterrupt as stop:
        print(
            f"\n{stop if stop.args else 'Stopped; nothing was kept.'}", file=sys.stderr
        )
        return EXIT_INTERRUPTED
    return EXIT_OK


@contextlib.contextmanager
def _stopping_alike() -> Iterator[None]:
    """Let SIGTERM, as batch systems send it, stop a block as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.getsignal(signal.SIGTERM)
    if usual is not signal.SIG_DFL:  # ignored, or somebody else's to handle
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)


def _let_print_anything() -> None:
    """Let standard output show what its encoding lacks as an escape, not as an error.

    Minus signs and other people's texts come to a console, log or pipe that may be in
    cp1252 or ASCII; training would end at them. Standard error does so by itself.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in _STRICT:
        sys.stdout.reconfigure(errors="backslashreplace")


def parse(
    config_class: type[Config],
    argv: Sequence[str],
    *,
    prog: str | None = None,
    description: str | None = None,
) -> Config:
    """Build a configuration from flags.

    Args:
        config_class: dataclass; its fields become flags, their comments the help.
        argv: the flags.
        prog: how the command is called, as `--help` shows it.
        description: what it does, as `--help` shows it.

    Returns:
        The configuration.

    Raises:
        ValueError: a flag or a value is wrong; the message is one sentence.
        SystemExit: `--help` was asked for and answered.
    """
    import tyro

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                config_class,
                prog=prog,
                description=f"{description or config_class.__doc__}\n\n"
                "Add --debug to see the traceback of an error.",
                args=list(argv),
                config=(
                    tyro.conf.FlagCreatePairsOff,
                    tyro.conf.DisallowNone,
                    tyro.conf.OmitArgPrefixes,
                ),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        sentence = _diagnose(config_class, argv) or _reason(stop, complaint)
        raise ValueError(sentence) from None


def require_at_least(config: Any, name: str, least: int) -> None:
    """Refuse a value below the least that makes sense.

    Args:
        config: dataclass instance.
        name: its field; `None` in it passes.
        least: smallest value allowed.

    Raises:
        ValueError: the value is smaller.
    """
    value = getattr(config, name)
    if value is not None and value < least:
        flag = "--" + name.replace("_", "-")
        raise ValueError(f"{flag} must be at least {least}; received {value}.")


def find_flags(config_class: type) -> dict[str, Any]:
    """Name every flag and what it takes; dataclasses in a field add their own.

    Args:
        config_class: dataclass, as for `parse`.

    Returns:
        Flag, such as `--batch-size`, to its type.
    """
    flags: dict[str, Any] = {}
    hints = typing.get_type_hints(config_class)
    positionals = find_positionals(config_class)
    for field in dataclasses.fields(config_class):
        hint = hints[field.name]
        if field.name in positionals:
            continue
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            flags |= find_flags(hint)
        else:
            flags["--" + field.name.replace("_", "-")] = hint
    return flags


def find_positionals(config_class: type) -> list[str]:
    """Name the fields that follow no flag: those that tyro knows as `Positional`.

    Args:
        config_class: dataclass, as for `parse`.

    Returns:
        Names of fields, in the order of their values.
    """
    hints = typing.get_type_hints(config_class, include_extras=True)
    marked = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return [name for name, marks in marked.items() if "Positional" in map(repr, marks)]


def _diagnose(config_class: type, argv: Sequence[str]) -> str | None:
    """Say what is wrong with flags that were refused."""
    fields = find_flags(config_class)
    missing = find_positionals(config_class)
    arguments = list(argv)
    while arguments:
        argument = arguments.pop(0)
        if not argument.startswith("-") or argument == "-":
            if missing:
                missing.pop(0)
                continue
            example = f"{next(iter(fields))} {argument}"
            return f"{argument!r} follows no flag. Write one before it: {example}."
        flag, equals, value = argument.partition("=")
        flag = flag.replace("_", "-")
        if flag not in fields:
            return _unknown(flag, fields)
        if fields[flag] is bool:
            if equals:
                return f"{flag} takes no value; received {value!r}. Give {flag} alone."
            continue
        if not equals:
            if not arguments or arguments[0].startswith("--"):
                return f"{flag} needs a value: give {_expected(fields[flag])}."
            value = arguments.pop(0)
        if not _accepts(fields[flag], value):
            return (
                f"{flag} must be {_expected(fields[flag])}; received {value!r}."
                f"{_guess(fields[flag], value)}"
            )
    if missing:
        return f"{missing[0].upper()} is missing; see --help."
    return None


def _unknown(flag: str, fields: typing.Iterable[str]) -> str:
    """Name the flag that was probably meant."""
    names = [field.strip("-") for field in fields]  # the dashes are in all of them
    nearest = difflib.get_close_matches(flag.strip("-"), names, n=1)
    guess = f"Did you mean --{nearest[0]}?" if nearest else "See --help for all flags."
    return f"unknown flag {flag!r}. {guess}"


def _guess(hint: Any, value: str) -> str:
    """Name the value that was probably meant, where they can be listed."""
    listed = [choice for choice in _choices(hint) if isinstance(choice, str)]
    nearest = difflib.get_close_matches(value, listed, n=1)
    if not nearest and len(value) > 2:  # a part of a longer name is not close to it
        nearest = [one for one in listed if value in one]
    return f" Did you mean {nearest[0]}?" if nearest else ""


def _choices(hint: Any) -> tuple:
    """Types and literal values that a field takes, without `None`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        return tuple(choice for part in parts for choice in _choices(part))
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    if typing.get_origin(hint) is tuple:  # a flag that may be repeated
        return _choices(typing.get_args(hint)[0])
    return (hint,)


def _expected(hint: Any) -> str:
    """Put what a field takes into words."""
    words = [
        _KINDS.get(choice, "a text") if isinstance(choice, type) else str(choice)
        for choice in _choices(hint)
    ]
    return " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def _accepts(hint: Any, value: str) -> bool:
    """Whether a field takes this value."""
    for choice in _choices(hint):
        if not isinstance(choice, type):
            if str(choice) == value:
                return True
            continue
        if choice not in _KINDS:
            return True
        with contextlib.suppress(ValueError):
            choice(value)
            return True
    return False


def _reason(stop: SystemExit, complaint: io.StringIO) -> str:
    """Find out why the parser gave up: a check of the dataclass, or its own words."""
    error: BaseException | None = stop
    while error is not None:
        if isinstance(error, ValueError):
            return str(error)
        error = error.__cause__ or error.__context__
    lines = [line.strip("│╭╮╰╯─ ") for line in complaint.getvalue().splitlines()]
    return next((line for line in lines[1:] if line), "these flags are not understood.")


def _fail(error: BaseException, code: int, debug: bool) -> int:
    """Print one sentence, or with `--debug` where the error comes from."""
    if debug:
        import traceback

        traceback.print_exception(error)
    print(f"error: {_sentence(error)}", file=sys.stderr)
    return code


def _sentence(error: BaseException) -> str:
    """Put an error on one line; a message that is none gets the error's kind."""
    if isinstance(error, MemoryError):
        return "memory ran out; try a smaller --batch-size or --max-length."
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror and error.errno is not None:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}"
    return text or type(error).__name__


def _stop_writing() -> int:
    """End quietly: whoever read our output has gone, so there is nobody to tell."""
    # Python flushes standard output once more when it exits.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_FAILED
