"""Trials side by side: figures over the seeds, documented and measured."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kbert.recipes.experiment import Experiment
from kbert.report.wording import metric_name


@dataclass(frozen=True)
class Row:
    """The trials of one variant with one encoder and the same settings.

    Args:
        name: of the variant.
        records: of its trials, one a seed.
    """

    name: str
    records: Sequence[Mapping[str, Any]]

    def values(self, key: str) -> list[float]:
        """Return a figure of every trial that has it.

        Args:
            key: as in the record's `figures`.

        Returns:
            The values, in the order of the seeds.
        """
        found = [record["figures"].get(key) for record in self.records]
        return [value for value in found if value is not None]

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
        num_collapsed = sum(record["collapsed"] for record in self.records)
        collapsed = f", {num_collapsed} predict one class" if num_collapsed else ""
        return f"{', '.join(shown)} (n {len(self.records)}{collapsed})"


def describe_values(values: Sequence[float]) -> str:
    """Write values as their mean and sample standard deviation.

    Args:
        values: at least one.

    Returns:
        Such as `0.812 ± 0.004`; one value stands alone.
    """
    mean = f"{statistics.fmean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def compare(experiment: Experiment, records: Sequence[Mapping[str, Any]]) -> list[Row]:
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
        key = (
            order.index(record["variant"]),
            record["preset"]["name"],
            record["as_documented"],
            tuple(record["changed"]),
            record["limit"] or 0,
        )
        groups.setdefault(key, []).append(record)
    return [
        Row(found[0]["variant"], sorted(found, key=lambda record: record["seed"]))
        for _, found in sorted(groups.items())
    ]
