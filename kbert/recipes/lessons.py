"""What trials taught, in sentences that their figures alone decide."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kbert.report.wording import claimed, metric_name, spread

if TYPE_CHECKING:
    from kbert.recipes.comparison import Row


def learn(rows: Sequence["Row"]) -> list[str]:
    """Say what the figures show, and no more than that.

    Args:
        rows: of one experiment.

    Returns:
        Sentences: how each row stands to the document, which variant is best by the
        first metric that sums a run up and whether the trials tell it from the next,
        and how many trials collapsed.
    """
    shared = _find_shared([row.find_differences() for row in rows])
    found = [
        sentence for row in rows for sentence in _compare_with_document(row, shared)
    ]
    if any(row.is_fallback for row in rows):
        found.append(
            "Where something stood in for the documented encoder or data, the figures "
            "say nothing about the document's."
        )
    alike: dict[tuple, list[Row]] = {}
    for row in rows:
        alike.setdefault(row.circumstances, []).append(row)
    found += [
        sentence
        for group in alike.values()
        if len(group) > 1 and (sentence := _compare_variants(group))
    ]
    if shared:
        found.insert(0, f"All runs differ from the document ({'; '.join(shared)}).")
    found += _count_collapsed(rows)
    return [sentence[:1].upper() + sentence[1:] for sentence in found]


def _find_shared(differences: Sequence[Sequence[str]]) -> list[str]:
    """Find what sets all rows, where there are several, apart from the document."""
    if len(differences) < 2:
        return []
    return [one for one in differences[0] if all(one in row for row in differences)]


def _compare_with_document(row: "Row", shared: Sequence[str]) -> list[str]:
    """Say how many figures are as good; counts and times are neither good nor bad."""
    measured = [claim for claim in row.compare_claims() if claim["n"]]
    claims = [claim for claim in measured if claim["is_quality"]]
    if not claims:
        return []
    counts = {
        "within 1 sd": sum(claim["verdict"] == "within 1 sd" for claim in claims),
        "inside the range": sum(claim["verdict"] == "inside" for claim in claims),
        "equal": sum(claim["verdict"] == "equal" for claim in claims),
        "better": sum(claim["is_better"] is True for claim in claims),
        "worse": sum(claim["is_better"] is False for claim in claims),
    }
    stands = [f"{count} {word}" for word, count in counts.items() if count]
    sentence = (
        f"{_name(row)}: against {len(claims)} documented "
        f"figure{'s' if len(claims) > 1 else ''} of quality, measured is "
        f"{', '.join(stands)}"
    )
    if len(row.records) == 1:
        sentence += " (one seed, so there is no sd to judge by)"
    differences = "; ".join(x for x in row.find_differences() if x not in shared)
    return [f"{sentence}.{_single_out(row)}" + _give_reasons(differences)]


def _name(row: "Row") -> str:
    ours = "" if row.variant.is_documented else " (not in the document)"
    return f"{metric_name(row.label)}{ours}"


def _give_reasons(differences: str) -> str:
    return f" It differs from the document ({differences})." if differences else ""


def _single_out(row: "Row") -> str:
    """Say how the first documented figure that sums the run up stands."""
    keys = (*row.experiment.summary, "batch_mean_accuracy")
    claims = {claim["key"]: claim for claim in row.compare_claims() if claim["n"]}
    chosen = next((claims[key] for key in keys if key in claims), None)
    if chosen is None:
        return ""
    return (
        f" {chosen['name'][:1].upper()}{chosen['name'][1:]}: {spread(chosen)}, "
        f"documented {claimed(chosen)}, {chosen['verdict']}."
    )


def _compare_variants(rows: Sequence["Row"]) -> str | None:
    """Say which variant is best, and whether the trials tell it from the next."""
    key = rows[0].experiment.summary[0]
    is_loss = key.endswith("loss")
    ranked = [row for row in rows if row.values(key)]
    ranked.sort(key=lambda row: row.spread(key)["mean"], reverse=not is_loss)
    if len(ranked) < 2:
        return None
    best, second = ranked[:2]
    first, other = best.spread(key), second.spread(key)
    # As they are printed, so that no sentence contradicts its own figures.
    gap = round(abs(round(first["mean"], 3) - round(other["mean"], 3)), 3)
    measured = best.records[0]["split"]
    if gap == 0:
        return (
            f"By {measured} {metric_name(key)}, {metric_name(best.label)} and "
            f"{metric_name(second.label)} are level at the top of {len(ranked)} "
            f"variants: {spread(first)} and {spread(other)}."
        )
    sentence = (
        f"By {measured} {metric_name(key)}, {metric_name(best.label)} is best of "
        f"{len(ranked)} "
        f"variants: {spread(first)} against {spread(other)} of "
        f"{metric_name(second.label)}, {gap:.3f} apart"
    )
    if first["sd"] is None or other["sd"] is None:
        return f"{sentence}; a single seed cannot tell that from chance."
    largest = round(max(first["sd"], other["sd"]), 3)
    if gap > largest:
        return f"{sentence}, more than the larger sd ({largest:.3f})."
    return (
        f"{sentence}, no more than the larger sd ({largest:.3f}), so these trials do "
        "not tell them apart."
    )


def _count_collapsed(rows: Sequence["Row"]) -> list[str]:
    num_trials = sum(len(row.records) for row in rows)
    names = [metric_name(row.label) for row in rows if row.num_collapsed]
    if not num_trials:
        return []
    if not names:
        return [f"No run of {num_trials} collapsed into predicting one class."]
    num_collapsed = sum(row.num_collapsed for row in rows)
    where = ", ".join(dict.fromkeys(names))
    return [f"{num_collapsed} of {num_trials} runs predict one class only ({where})."]
