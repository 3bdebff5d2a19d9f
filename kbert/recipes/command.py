"""A recipe's command line: the flags that all have, and the one that chooses a run."""

from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from typing import Annotated, Any, Literal

from kbert import cli
from kbert.recipes.experiment import Experiment
from kbert.recipes.flags import Flags

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """No flags of a recipe's own."""


def main(experiment: Experiment, argv: Sequence[str] | None = None) -> int:
    """Run a recipe as the command line asks.

    Args:
        experiment: what is reproduced.
        argv: flags; `None` means those of this process.

    Returns:
        Exit code: 0 done, 1 failed, 2 a wrong flag, value or data, 130 interrupted.
    """

    def run(config: Any) -> None:
        from kbert.recipes import running  # takes a second, which --help need not wait

        names = choose(experiment, config)
        running.run_experiment(experiment, config.flags, names, config.options)

    return cli.run_recipe(
        build_config(experiment),
        run,
        argv,
        prog=f"python -m kbert.recipes.{experiment.name}",
        description=describe(experiment),
        check=lambda config: choose(experiment, config),
    )


def build_config(experiment: Experiment) -> type:
    """Build the dataclass whose fields are a recipe's flags.

    Args:
        experiment: what is reproduced.

    Returns:
        A dataclass with `flags`, `options` and, where there are several variants, the
        flag that chooses one.
    """
    import tyro

    options = experiment.options or NoOptions
    chosen: list[Any] = []
    if len(experiment.variants) > 1:
        names = (*experiment.variants, *experiment.groups, ALL)
        kind = Annotated[
            Literal[names] | None,  # type: ignore[valid-type]
            tyro.conf.arg(help=f"what to run; else {experiment.default}"),
        ]
        chosen = [(experiment.flag, kind, field(default=None))]
    return make_dataclass(
        "Config",
        [
            ("flags", Flags, field(default_factory=Flags)),
            *chosen,
            ("options", options, field(default_factory=options)),
        ],
        frozen=True,
        kw_only=True,
    )


def choose(experiment: Experiment, config: Any) -> list[str]:
    """Find out which variants were asked for.

    Args:
        experiment: what is reproduced.
        config: of `build_config`.

    Returns:
        Names, in the document's order.

    Raises:
        ValueError: `--as-documented` with a variant that the document does not have.
    """
    variants = experiment.variants
    documented = [name for name, one in variants.items() if one.is_documented]
    allowed = documented if config.flags.as_documented else list(variants)
    asked = getattr(config, experiment.flag, None)
    if asked is None:
        return [experiment.default if experiment.default in allowed else allowed[0]]
    if asked == ALL:
        return allowed
    names = list(experiment.groups.get(asked, (asked,)))
    for name in names:
        if name not in allowed:
            raise ValueError(
                f"--as-documented repeats the document's runs, and --{experiment.flag} "
                f"{name} is none of them. Leave one out, or choose "
                f"{' or '.join(documented)}."
            )
    return names


def describe(experiment: Experiment) -> str:
    """Say what a recipe does and with which settings, for `--help`.

    Args:
        experiment: what is reproduced.

    Returns:
        A few lines.
    """
    lines = [experiment.question, f"Source: {experiment.source}.", "Settings:"]
    for name, variant in experiment.variants.items():
        one = variant.settings
        lines.append(
            f"  {name}: epochs {one.epochs}, batch size {one.batch_size}, learning "
            f"rate {one.learning_rate:g}{f'; {variant.words}' if variant.words else ''}"
        )
    return "\n".join(lines)
