r"""Clean texts before they are tokenized, in named steps that compose.

A step takes a text and returns a text. A cleaning is a sequence of steps; three have
names of their own in `CLEANINGS`:

- `none` leaves a text as it is.
- `documented` repeats the tweets experiment step by step, with its defect: letters are
  kept before URLs are looked for, so `http://t.co/ab1c` survives as `http tco ab c`.
- `fixed` has the same steps with URLs and HTML tags removed first.

Source: a lab manual that fine-tunes BERT on the disaster tweets (`clean_text` there).
Its first pattern is garbled in print. Keeping letters and `? . ! , ¿` gives the row it
shows and its longest text of 45 tokens.
"""

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import cache
from typing import TypeVar

Step = Callable[[str], str]
Cleaning = str | Sequence[str | Step]
Value = TypeVar("Value")

_NOT_LETTERS_OR_MARKS = re.compile(r"[^a-zA-Z?.!,¿]+")
_URL = re.compile(r"http\S+")
_HTML_TAG = re.compile(r"<.*?>")
_PUNCTUATION = str.maketrans("", "", "@#!?+&*[]-%.:/();$=><|{}^'`_")
# The last range is the source's: it also spans the CJK scripts, not only symbols.
_EMOJI = re.compile(
    "[\U0001f600-\U0001f64f\U0001f300-\U0001f5ff\U0001f680-\U0001f6ff"
    "\U0001f1e0-\U0001f1ff\U00002702-\U000027b0\U000024c2-\U0001f251]"
)


def lowercase(text: str) -> str:
    """Return the text in lower case."""
    return text.lower()


def keep_letters_and_marks(text: str) -> str:
    """Put one space for each run of characters other than letters and `? . ! , ¿`."""
    return _NOT_LETTERS_OR_MARKS.sub(" ", text)


def remove_urls(text: str) -> str:
    """Delete everything from `http` to the next white space; knows lower case only."""
    return _URL.sub("", text)


def remove_html_tags(text: str) -> str:
    """Delete `<...>`, the shortest span that stays within a line."""
    return _HTML_TAG.sub("", text)


def remove_punctuation(text: str) -> str:
    """Delete ASCII punctuation other than comma, quotation mark, `~` and backslash."""
    return text.translate(_PUNCTUATION)


def remove_stop_words(text: str) -> str:
    """Drop English stop words and leave single spaces between the other words."""
    stop_words = load_stop_words()
    return " ".join(word for word in text.split() if word.lower() not in stop_words)


def remove_emoji(text: str) -> str:
    """Delete emoji, pictographs, flags and enclosed characters (and CJK scripts)."""
    return _EMOJI.sub("", text)


STEPS: dict[str, Step] = {
    step.__name__: step
    for step in (
        lowercase,
        remove_urls,
        remove_html_tags,
        keep_letters_and_marks,
        remove_punctuation,
        remove_stop_words,
        remove_emoji,
    )
}

# In `fixed`, emoji go last: keep_letters_and_marks already puts a space in their place,
# and deleting them before it would glue the words on both sides together.
CLEANINGS: dict[str, tuple[str, ...]] = {
    "none": (),
    "fixed": (
        "lowercase",
        "remove_urls",
        "remove_html_tags",
        "keep_letters_and_marks",
        "remove_punctuation",
        "remove_stop_words",
        "remove_emoji",
    ),
    "documented": (
        "lowercase",
        "keep_letters_and_marks",
        "remove_urls",
        "remove_html_tags",
        "remove_punctuation",
        "remove_stop_words",
        "remove_emoji",
    ),
}


@cache
def load_stop_words() -> frozenset[str]:
    """Return the 179 English stop words of NLTK, in lower case.

    Returns:
        The words, read once from the package's own data.
    """
    from importlib.resources import files

    resource = files("kbert").joinpath("resources", "english_stop_words.txt")
    return frozenset(resource.read_text(encoding="utf-8").split())


def clean_text(text: str, cleaning: Cleaning = "fixed") -> str:
    """Clean one text.

    Args:
        text: any string.
        cleaning: a name of `CLEANINGS`, or a sequence of names of `STEPS` and own
            functions from text to text, applied in order.

    Returns:
        The cleaned text, possibly empty.

    Raises:
        ValueError: a name is unknown, or a step is neither a name nor callable.
    """
    for step in resolve_cleaning(cleaning):
        text = step(text)
    return text


def resolve_cleaning(cleaning: Cleaning | None) -> tuple[Step, ...]:
    """Turn a cleaning into the functions it stands for.

    Args:
        cleaning: as for `clean_text`; `None` means `none`.

    Returns:
        The steps in order, empty when nothing is cleaned.

    Raises:
        ValueError: a name is unknown, or a step is neither a name nor callable.
    """
    if cleaning is None:
        return ()
    if isinstance(cleaning, str):
        return tuple(STEPS[name] for name in _look_up(cleaning, CLEANINGS, "cleaning"))
    if not isinstance(cleaning, Sequence):
        raise ValueError(
            f"clean must be a name or a sequence of steps; received {cleaning!r}. "
            "Put a single function in a list."
        )
    return tuple(_resolve_step(step) for step in cleaning)


def describe_cleaning(cleaning: Cleaning | None) -> str | list[str] | None:
    """Say a cleaning in names alone, so that it can be saved.

    Args:
        cleaning: as for `resolve_cleaning`.

    Returns:
        `None`, a name of `CLEANINGS`, or a list of names of `STEPS`.

    Raises:
        ValueError: a step is a function of the user's own, which has no name here.
    """
    if cleaning is None or isinstance(cleaning, str):
        return cleaning
    names = {step: name for name, step in STEPS.items()}
    for step in resolve_cleaning(cleaning):
        if step not in names:
            raise ValueError(
                f"cleaning step {_name(step)!r} is code, which a saved model cannot "
                "carry. Clean the texts before they reach the model, or use named "
                f"steps: {', '.join(STEPS)}."
            )
    return [names[step] for step in resolve_cleaning(cleaning)]


def _resolve_step(step: str | Step) -> Step:
    if isinstance(step, str):
        return _look_up(step, STEPS, "cleaning step")
    if callable(step):
        return step
    raise ValueError(
        f"a cleaning step must be a name or a function; received {step!r}. "
        f"Names are {', '.join(STEPS)}."
    )


def _look_up(name: str, table: dict[str, Value], what: str) -> Value:
    if name in table:
        return table[name]
    near = get_close_matches(name, table, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Choose from {', '.join(table)}."
    raise ValueError(f"unknown {what} {name!r}. {hint}")


def _name(step: Step) -> str:
    return getattr(step, "__name__", type(step).__name__)
