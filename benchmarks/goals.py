"""What kbert set out to reach, on a CPU of two cores if not said; a miss is shown."""

MINILM = "all_minilm_l6_v2_en"
BASE = "bert-base-random"
_COLUMNS = ((MINILM, "tweets"), (MINILM, "mrpc"), (MINILM, "imdb"), (BASE, "tweets"))
# A machine whose bfloat16 is fast, and one that has float32 only; see
# `machine.sort_machine`.
_TRAINING = {
    "bfloat16": {
        "trainer": (6, 60, 4.5, 5),
        "trainer-dynamic": (3, 3, 3, 3),
        "trainer-best": (1.3, 1.6, 2, 1.3),
        "keras": (7, 60, 5, 7),
        "matmul_share": (0.30, 0.40, 0.45, 0.50),
    },
    "float32": {
        "trainer": (3.3, 40, 2.4, 2.8),
        "trainer-dynamic": (1.7, 1.9, 2, 1.5),
        "trainer-best": (1.15, 1.25, 1.9, 1.1),
        "keras": (3.5, 40, 2.5, 3),
        "matmul_share": (0.65, 0.70, 0.70, 0.75),
    },
}
_INFERENCE = {
    "bfloat16": {"transformers": (1.3, 1.3, 1.3, 1.2)},
    "float32": {"transformers": (1.2, 1.2, 1.2, 1.1)},
}
_GPU = {"tweets": 3, "mrpc": 2, "imdb": 1.2}
_GPU_SHARE = {("full", BASE): 0.45}  # of the best matrix product, training
_MEMORY = {"trainer-best": 1.0}  # theirs over ours, on every workload
_PADDED_MEMORY = {("mrpc", "trainer"): 5.0}
FLAT = {"rows": 0.10, "batch": 0.10}  # growth of the time per token along an axis
FROZEN = 30
TOKENIZING = {"keras": 25, "transformers": 1.5}


def find_goal(record: dict, what: str) -> float | None:
    """Return what a record's ratio or `matmul_share` should be at least, if set.

    Args:
        record: of training, inference, memory, tokenizing or frozen.
        what: an opponent's name, or `matmul_share`.
    """
    result, benchmark = record["result"], record["benchmark"]
    if benchmark == "frozen":
        return FROZEN
    if benchmark == "tokenizing":
        return TOKENIZING.get(what)
    config = record["config"]
    if benchmark == "memory":
        padded = _PADDED_MEMORY.get((result["workload"], what))
        return padded or _MEMORY.get(what)
    if config["device"] == "cuda":
        return _find_gpu_goal(benchmark, result["workload"], config["preset"], what)
    table = {"training": _TRAINING, "inference": _INFERENCE}.get(benchmark, {})
    row = table.get(result.get("machine"), {}).get(what)
    column = (config["preset"], result["workload"])
    return row[_COLUMNS.index(column)] if row and column in _COLUMNS else None


def _find_gpu_goal(benchmark: str, workload: str, preset: str, what: str):
    if benchmark != "training":
        return None
    if what == "matmul_share":
        return _GPU_SHARE.get((workload, preset))
    return _GPU.get(workload) if what == "trainer-best" else None
