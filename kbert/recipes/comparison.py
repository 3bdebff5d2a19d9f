"""Trials side by side: figures over the seeds, documented and measured."""

import shlex
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from kbert import report
from kbert.presets import EMBEDDED_PRESET, is_same_preset
from kbert.recipes.experiment import Experiment, Settings, Variant
from kbert.recipes.lessons import learn
from kbert.recipes.verdicts import NOTHING, describe_claim, describe_values, sum_up
from kbert.report.wording import metric_name

Record = Mapping[str, Any]
# Flags that set no training apart from another: which seeds, what is measured beside.
ASIDE = ("seed", "seeds", "memory")
# Flags whose effect a record has in plain words elsewhere.
_SAID_ELSEWHERE = {*ASIDE, "data", "preset", "limit", "as-documented", "device"} | {
    one.name.replace("_", "-") for one in fields(Settings)
}


@dataclass(frozen=True)
class Row:
    """The trials of one variant with one encoder, on the same data, set the same way.

    Args:
        experiment: what was reproduced.
        records: of its trials, one a seed.
    """

    experiment: Experiment
    records: Sequence[Record]

    @property
    def name(self) -> str:
        """Name of the variant."""
        return self.records[0]["variant"]

    @property
    def label(self) -> str:
        """The variant's name, and whether the document's defects were repeated."""
        repeats = repeats_defects(self.experiment, self.records[0])
        return f"{self.name}, as documented" if repeats else self.name

    @property
    def variant(self) -> Variant:
        """The row of the document's table."""
        return self.experiment.variants[self.name]

    @property
    def is_fallback(self) -> bool:
        """Whether anything stood in for the documented encoder or data."""
        return any(record["is_fallback"] for record in self.records)

    @property
    def num_collapsed(self) -> int:
        """Trials that predict one class."""
        return sum(record["collapsed"] for record in self.records)

    def values(self, key: str) -> list[float]:
        """Return a figure of every trial that has it.

        Args:
            key: as in the record's `figures`.

        Returns:
            The values, in the order of the seeds.
        """
        found = [record["figures"].get(key) for record in self.records]
        return [value for value in found if isinstance(value, int | float)]

    def spread(self, key: str) -> dict[str, Any]:
        """Sum a figure up.

        Args:
            key: as in the record's `figures`.

        Returns:
            `mean`, `sd` (of the sample; `None` for one trial) and `n`.
        """
        return sum_up(self.values(key))

    def compare_claims(self) -> list[dict[str, Any]]:
        """Put the documented figures beside the measured ones.

        Returns:
            For each claim what `describe_claim` returns.
            Where something stood in for the documented means, nothing is measured.
        """
        return [
            describe_claim(
                claim, NOTHING if self.is_fallback else self.spread(claim.key)
            )
            for claim in self.variant.claims
        ]

    def find_differences(self) -> list[str]:
        """Say in a few words each what sets these trials apart from the document's.

        Returns:
            Such as `smaller encoder: all_minilm_l6_v2_en` and `160 of 6,090 training
            rows`; empty where all is as documented.
        """
        first = self.records[0]
        found = self._describe_means()
        if not first["as_documented"] and self.experiment.has_defects(self.name):
            found.append(self.variant.unlike)
        frozen = first["settings"].get("frozen")
        if frozen != self.variant.settings.frozen:
            found.append(
                f"{frozen} frozen layers in place of {self.variant.settings.frozen}"
            )
        return found + self._describe_changes()

    @property
    def circumstances(self) -> tuple[Any, ...]:
        """What has to be alike in two variants whose figures are compared.

        That a variant's own defect was mended does not set it apart from variants that
        have none; that it was repeated does.
        """
        first = self.records[0]
        chooses = first["settings"].get("patience") is not None
        repeats = repeats_defects(self.experiment, first)
        return (
            self.is_fallback,
            first["split"],
            # An epoch that the measured rows chose flatters its variant; imdb's
            # document validates on the test rows.
            chooses and (first["split"] == "validation" or repeats),
            repeats,
            *self._describe_means(),
            *self._describe_changes(),
        )

    def _describe_means(self) -> list[str]:
        """Say which encoder and data were not the document's."""
        name = self.records[0]["preset"]["name"]
        rows = self._describe_rows()
        found = [rows] if rows else []
        if not is_same_preset(name, self.variant.preset or self.experiment.preset):
            size = "smaller" if name == EMBEDDED_PRESET else "other"
            found.insert(0, f"{size} encoder: {name}")
        return found

    def _describe_changes(self) -> list[str]:
        """Say what the user set, and where it ran."""
        first = self.records[0]
        flags = [
            f"--{flag} {value}".strip()
            for flag, value in read_flags(first["command"]).items()
            if flag not in {*_SAID_ELSEWHERE, self.experiment.flag}
        ]
        is_cpu = first["device"]["kind"] == "cpu"
        device = [] if is_cpu else [f"on {first['device']['name']}"]
        return [*first["changed"], *flags, *device]

    def _describe_rows(self) -> str | None:
        first = self.records[0]
        if first["data"]["is_documented"]:
            return None
        rows = first["data"]["rows"]["train"]
        documented = self.variant.settings.rows or self.experiment.num_rows or 0
        if first["limit"] and rows < documented:
            return f"{rows:,} of {documented:,} training rows"
        return f"other data: {first['data']['source']}, {rows:,} training rows"

    def _list_settings(self) -> dict[str, Any]:
        """Return the settings that are on, and the dropout, which is on as a rule."""
        settings = Settings(**self.records[0]["settings"])
        return settings.to_json() | {"dropout": settings.dropout}

    def write_command(self) -> str:
        """Write the command that repeats all these trials.

        Returns:
            A line for a shell.
        """
        return self.records[-1]["command"]  # trains the seeds before its own too

    def describe(self, keys: Sequence[str]) -> str:
        """Put figures into a line: mean, standard deviation and number of trials.

        Args:
            keys: of the figures.

        Returns:
            Such as `accuracy 0.812 ± 0.004, F1 0.790 ± 0.010 (n 3)`.
        """
        shown = [
            f"{metric_name(key)} {describe_values(values)}"
            for key in keys
            if (values := self.values(key))
        ]
        collapsed = self.num_collapsed and f", {self.num_collapsed} predict one class"
        return f"{', '.join(shown)} (n {len(self.records)}{collapsed or ''})"

    def to_json(self, place: Callable[[Record], str]) -> dict[str, Any]:
        """Return what a report shows of these trials.

        Args:
            place: where more about a trial is found, relative to the report.

        Returns:
            A row as `kbert.report.Comparison` takes it.
        """
        records, summary = self.records, self.experiment.summary
        return {
            "name": self.label,
            "words": self.variant.words,
            "is_documented": self.variant.is_documented,
            "differences": self.find_differences(),
            "command": self.write_command(),
            "num_trials": len(records),
            "num_collapsed": self.num_collapsed,
            "is_fallback": self.is_fallback,
            "claims": self.compare_claims(),
            "metrics": {key: self.spread(key) for key in summary if self.values(key)},
            "settings": self._list_settings(),
            "seconds": statistics.fmean(one["seconds"]["total"] for one in records),
            "trials": [_describe_trial(one, summary, place) for one in records],
            "histories": {f"seed {one['seed']}": one["history"] for one in records},
        }


def _describe_trial(
    record: Record, keys: Sequence[str], place: Callable[[Record], str]
) -> dict[str, Any]:
    figures = record["figures"]
    return {
        "seed": record["seed"],
        "figures": {key: figures[key] for key in keys if key in figures},
        "kept_epoch": record["kept_epoch"],
        "num_epochs": len(record["history"]),
        "seconds": record["seconds"]["total"],
        "collapsed": record["collapsed"],
        "place": place(record),
    }


def read_flags(command: str) -> dict[str, str]:
    """Read the flags of a recipe's command.

    Args:
        command: as a record has it.

    Returns:
        Flag, without dashes, to its value; an empty one where it takes none.
    """
    flags: dict[str, str] = {}
    name = ""
    for word in shlex.split(command)[3:]:  # python -m kbert.recipes.…
        if word.startswith("--"):
            name = word.removeprefix("--")
            flags[name] = ""
        else:
            flags[name] = f"{flags[name]} {word}".strip()
    return flags


def repeats_defects(experiment: Experiment, record: Record) -> bool:
    """Whether a trial repeated a defect of the document's.

    Args:
        experiment: what was reproduced.
        record: of a trial; with `--as-documented` one of a variant without defects is
            the same as without.

    Returns:
        Whether it is set apart by that.
    """
    return record["as_documented"] and experiment.has_defects(record["variant"])


def compare(experiment: Experiment, records: Sequence[Record]) -> list[Row]:
    """Group trials by what was trained.

    Args:
        experiment: what was reproduced.
        records: of any of its trials.

    Returns:
        A row for each variant and way to run it, in the document's order.
    """
    order = list(experiment.variants)
    groups: dict[tuple, list] = {}
    for record in records:
        flags = read_flags(record["command"])
        for said in (*ASIDE, "as-documented"):
            flags.pop(said, None)
        key = (
            order.index(record["variant"]),
            record["is_fallback"],
            not record["is_comparable"],
            record["preset"]["name"],
            repeats_defects(experiment, record),
            record["limit"] or 0,
            record["device"]["kind"],
            record["data"]["digest"],
            record["split_seed"],
            sorted(flags.items()),
        )
        groups.setdefault(_freeze(key), []).append(record)
    return [
        Row(experiment, sorted(found, key=lambda record: record["seed"]))
        for _, found in sorted(groups.items())
    ]


def _freeze(key: tuple) -> tuple:
    return tuple(tuple(part) if isinstance(part, list) else part for part in key)


def describe(
    experiment: Experiment,
    records: Sequence[Record],
    place: Callable[[Record], str],
) -> report.Comparison:
    """Turn records into what a report on several trials shows.

    Args:
        experiment: what was reproduced.
        records: of its trials.
        place: where more about a trial is found, relative to the report.

    Returns:
        What to render.
    """
    rows = compare(experiment, records)
    return report.Comparison(
        recipe=experiment.name,
        title=experiment.title,
        question=experiment.question,
        source=experiment.source,
        file=experiment.file,
        metrics=experiment.summary,
        rows=[row.to_json(place) for row in rows],
        lessons=learn(rows),
        remarks=experiment.remarks,
        records=[record for row in rows for record in row.records],
        names=[row.label for row in rows for _ in row.records],
    )


def write(
    folder: report.RunFolder, experiment: Experiment, records: Sequence[Record]
) -> None:
    """Write the report on a run of several trials.

    Args:
        folder: of all trials; each trial's own is in it.
        experiment: what was reproduced.
        records: of the trials.
    """

    def place(record: Record) -> str:
        return f"{name_folder(record['variant'], record['seed'])}/report.html"

    report.write_comparison(folder, describe(experiment, records, place))


def name_folder(variant: str, seed: int) -> str:
    """Name a trial's folder within that of all trials.

    Args:
        variant: its name.
        seed: of the trial.

    Returns:
        Such as `baseline-seed42`.
    """
    return f"{variant}-seed{seed}"
