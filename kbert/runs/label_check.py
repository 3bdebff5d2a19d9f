"""Labels that are likely wrong, looked for before a training."""

from dataclasses import replace

from kbert.runs.plan import Plan


def find_label_errors(plan: Plan) -> Plan:
    """Look for training rows whose label is likely wrong, where that was asked for.

    Args:
        plan: what is trained.

    Returns:
        The plan with what was found, which is printed too.

    Raises:
        ValueError: cleanlab is missing, or there are too few rows or classes.
    """
    if not plan.check_labels:
        return plan
    from kbert.inspection import check_labels

    num_rows, encoder = len(plan.splits.train), plan.preset.name
    print(
        f"Labels    of {num_rows:,} training rows are checked with {encoder}",
        flush=True,
    )
    found = check_labels(plan.splits, plan.preset, seed=plan.request.seed)
    if found is None:
        print("Labels    none is likely wrong", flush=True)
        return plan
    print(f"Labels    {found.sentence}")
    for one in found.examples:
        print(f"          {one.part} {one.row} ({one.detail}): {one.text[:60]!r}")
    print("          The surest are in the report and its report.json.", flush=True)
    return replace(plan, label_errors=found)
