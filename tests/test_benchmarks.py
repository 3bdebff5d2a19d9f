"""The benchmarks start, print what they promise, and their tables are not stale."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    inference_sides,
    measure,
    operations,
    plans,
    plots,
    records,
    tables,
)
from benchmarks.goals import find_goal
from benchmarks.workloads import SOURCES, load_workload
from kbert.engine.config import EncoderConfig

ROOT = Path(__file__).resolve().parent.parent
TRAINING_KEYS = {
    "workload", "against", "ratio", "ratio_low", "ratio_high", "texts_per_second",
    "tokens_per_second", "peak_memory_bytes", "matmul_share", "loss", "versions",
    "device", "cpu_features", "commit",
}  # fmt: skip
QUICK = "--quick --results {results}"
# In one process, because importing torch and transformers takes most of the time.
FAST = [
    f"training --workload tweets --against trainer-best --no-memory {QUICK}",
    f"training --workload mrpc --against trainer --no-memory {QUICK}",
    f"training --workload imdb --against trainer-dynamic --no-memory {QUICK}",
    f"inference --workload amazon --against transformers {QUICK}",
    f"inference --workload tweets --against sentence-transformers --no-memory {QUICK}",
    f"inference --workload mrpc --against onnxruntime --no-memory {QUICK}",
    f"tokenizing --workload mrpc --against transformers {QUICK}",
    f"scaling --axis batch {QUICK}",
    f"quality --workload tweets --against trainer --seeds 2 {QUICK}",
    f"quality --workload mrpc --against float32 --seeds 1 {QUICK}",
    *(
        f"{script} --workload {name} {flags} {QUICK}"
        for name, against in (
            ("ner", "trainer-dynamic"),
            ("stsb", "trainer"),
            ("squad", "trainer"),
        )
        for script, flags in (
            ("training", f"--against {against} --no-memory"),
            ("quality", "--seeds 1"),
        )
    ),
    f"long_texts {QUICK}",
]
SLOW = [
    f"training --workload tweets --against keras --no-memory {QUICK}",
    f"training --workload stsb --against keras --no-memory {QUICK}",
    f"inference --workload tweets --against keras {QUICK}",
    f"frozen {QUICK}",
    f"correctness {QUICK}",
    f"scaling --axis rows length depth {QUICK}",
    f"startup {QUICK}",
    f"memory --against trainer-best {QUICK}",
    f"devices {QUICK}",
    f"captured {QUICK}",
]
ALONE = [f"tokenizing --workload tweets --against keras {QUICK}"]  # with TensorFlow
RUNNER = """
import importlib, json, sys
for line in json.loads(sys.argv[1]):
    name, *argv = line.split()
    importlib.import_module(f"benchmarks.{name}").main(argv)
    print("-- end")
"""


def run_quick(commands: list[str], results: Path) -> dict[str, str]:
    """Run scripts in one child process; return each one's standard output."""
    lines = [command.format(results=results) for command in commands]
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, json.dumps(lines)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outputs = done.stdout.split("-- end\n")
    return dict(zip(commands, outputs, strict=False))


def check_outputs(outputs: dict[str, str], commands: list[str], results: Path) -> None:
    for command in commands:
        result = json.loads(outputs[command].splitlines()[-1])
        assert {"workload", "against", "versions", "device", "commit"} <= set(result)
        if command.startswith("training"):
            assert set(result) >= TRAINING_KEYS
            assert 0 < result["ratio_low"] <= result["ratio"] <= result["ratio_high"]
            ours, theirs = result["loss"].values()
            assert ours == pytest.approx(theirs, abs=0.02)
        if "largest_difference" in result:
            assert result["largest_difference"] < 0.01
            ours, theirs = result["loss"].values()
            assert ours == pytest.approx(theirs, abs=0.02)
            if "--no-memory" not in command:
                assert all(result["peak_memory_bytes"].values())
        assert not result.get("misses")
    written = records.read_records(results)
    assert len(written) == len(commands)
    assert all(set(records.REQUIRED) <= set(record) for record in written)
    assert all(str(ROOT) not in json.dumps(record) for record in written)
    for record in written:
        if record["benchmark"] == "quality":  # as many updates on both sides
            assert {run["steps"] for run in record["runs"]} == {record["timed_steps"]}


@pytest.fixture(scope="module")
def quick_records(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    check_outputs(run_quick(FAST, results), FAST, results)
    return records.read_records(results)


@pytest.mark.slow
def test_every_script_on_torch_alone_ends_with_one_json_object(quick_records):
    assert len(quick_records) == len(FAST)


@pytest.mark.slow
def test_every_other_script_ends_with_one_json_object(tmp_path):
    check_outputs(run_quick(SLOW, tmp_path), SLOW, tmp_path)


@pytest.mark.slow
def test_tokenizing_against_keras_gives_the_same_ids(tmp_path):
    outputs = run_quick(ALONE, tmp_path)
    check_outputs(outputs, ALONE, tmp_path)
    result = json.loads(outputs[ALONE[0]].splitlines()[-1])
    assert result["same_ids_share"] == 1


def run_gpu_script(*flags: str):
    return subprocess.run(
        ["bash", ROOT / "benchmarks/gpu.sh", "--device", "cpu", "--quick", *flags],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHON": sys.executable},
    )


def test_gpu_script_lists_its_parts_correctness_first():
    names = run_gpu_script("--list").stdout.split()
    assert names[0] == "correctness"
    assert len(names) == len(set(names)) > 30


@pytest.mark.slow
def test_gpu_script_goes_on_where_it_stopped(tmp_path):
    flags = ("--state", str(tmp_path), "--part", "memory-tweets-trainer")
    first, second = run_gpu_script(*flags), run_gpu_script(*flags)
    assert first.returncode == second.returncode == 0, first.stdout
    assert "== memory-tweets-trainer" in first.stdout
    assert second.stdout == ""


def test_tables_and_plots_are_what_the_records_make_of_them():
    assert [str(path) for path in tables.find_stale()] == []


@pytest.mark.slow
def test_stale_tables_are_found_and_written_once(quick_records, tmp_path):
    results, document = tmp_path / "results", tmp_path / "README.md"
    for record in quick_records:
        records.write_record(record, results)
    document.write_text(f"before\n{tables.START}\n{tables.END}\nafter\n")
    stale = tables.find_stale(results, [document], tmp_path / "plots")
    assert {path.name for path in stale} == {"README.md", "ratios.svg", "padding.svg"}
    for path, text in stale.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert tables.find_stale(results, [document], tmp_path / "plots") == {}
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("after\n")
    assert "tiny-random" in text
    is_absent = inference_sides.why_not("onnxruntime") is not None
    assert ("not measured" in text) == is_absent


@pytest.mark.slow
def test_a_record_is_never_overwritten(quick_records, tmp_path):
    first = records.write_record(quick_records[0], tmp_path)
    second = records.write_record(quick_records[0], tmp_path)
    assert first != second
    assert first.read_text() == second.read_text()


def test_an_incomplete_record_is_refused(tmp_path):
    with pytest.raises(ValueError, match="lacks schema"):
        records.write_record({"utc": "2025"}, tmp_path)


def test_without_grouping_both_sides_get_identical_batches():
    lengths = np.arange(2, 102)
    plan = plans.build_plan(lengths, batch_size=4, num_warmup=1, num_timed=5)
    assert plan.ours is plan.theirs
    assert len(plan.timed) == 20
    assert not set(plan.held_out) & set(plan.ours)


def test_grouping_leaves_both_sides_the_same_rows_and_theirs_little_padding():
    lengths = np.random.default_rng(0).integers(2, 200, 2000)
    options = {"batch_size": 8, "num_warmup": 2, "num_timed": 20}
    plan = plans.build_plan(lengths, grouped=True, **options)
    assert sorted(plan.timed) == sorted(plan.theirs[16:])
    ours, theirs = (
        plans.count_padded_tokens(lengths, rows, 8, None)
        for rows in (plan.ours, plan.theirs)
    )
    real = lengths[plan.ours].sum()
    assert theirs < 1.05 * real < 1.5 * real < ours
    # A sample of a whole epoch's batches, not its first ones, which are the longest.
    assert real / len(plan.ours) == pytest.approx(lengths.mean(), rel=0.2)


def test_largest_batch_is_in_a_memory_plan():
    lengths = np.random.default_rng(0).integers(2, 200, 400)
    lengths[300] = 500
    found = [
        plans.build_plan(
            lengths, batch_size=8, num_warmup=1, num_timed=2, largest_first=True, seed=s
        ).ours
        for s in range(5)
    ]
    assert sum(300 in rows for rows in found) >= 4  # it may be held out


def test_operations_of_bert_base_are_the_known_ones():
    config = EncoderConfig(
        family="bert", vocabulary_size=30522, num_layers=12, num_heads=12,
        hidden_dim=768, intermediate_dim=3072,
    )  # fmt: skip
    # 12 layers * 512 tokens * (24 h² + 4 * 512 h), and the pooler.
    expected = 12 * 512 * (24 * 768**2 + 4 * 512 * 768) + 2 * 768**2
    assert operations.count_forward(config, [512], only_first=False) == expected
    assert operations.count_forward(config, [512]) < expected


def test_comparison_takes_medians_and_extreme_pairs():
    found = measure.compare([1, 2, 4], [4, 6, 6])
    assert found == {"ratio": 3, "ratio_low": 1.5, "ratio_high": 4}
    rate = measure.summarize_rate(10, [1, 2, 5])
    assert rate == {"median": 5, "q25": 3.5, "q75": 7.5}


def test_sides_take_turns_in_going_first():
    order = []
    measure.interleave(lambda: order.append("a"), lambda: order.append("b"), 3)
    assert order == ["a", "b", "b", "a", "a", "b"]


def test_a_missed_goal_is_marked():
    record = {
        "benchmark": "training", "command": "python -m benchmarks.training",
        "config": {"preset": "all_minilm_l6_v2_en", "device": "cpu"},
        "result": {
            "workload": "tweets", "against": "trainer", "machine": "float32",
            "ratio": 3.0, "ratio_low": 2.9, "ratio_high": 3.1,
        },
    }  # fmt: skip
    assert find_goal(record, "trainer") == 3.3
    assert tables._format_ratio(record) == "3.00 (2.90–3.10) † 3.3"


def test_goals_of_memory_and_of_a_flat_cost_are_marked():
    result = {"workload": "mrpc", "ratio": 4.0, "ratio_low": 4.0, "ratio_high": 4.0}
    record = {"benchmark": "memory", "config": {"device": "cpu"}, "result": result}
    record["command"] = "python -m benchmarks.memory"
    assert find_goal(record, "trainer") == 5 and find_goal(record, "trainer-best") == 1
    assert find_goal(record, "keras") is None
    result["against"] = "trainer"
    assert tables._format_ratio(record) == "4.00 (4.00–4.00) † 5"
    found = {"exponent": 1.0, "spread": 0.12}
    assert tables._format_axis("rows", found) == "rows 1.00 (+12% a token † 10%)"
    assert tables._format_axis("length", found) == "length 1.00 (+12% a token)"
    assert tables._format_axis("depth", found) == "depth 1.00"


def test_a_gpus_goals_are_its_own():
    config = {"device": "cuda", "preset": "bert-base-random"}
    record = {"benchmark": "training", "config": config, "result": {"workload": "full"}}
    assert find_goal(record, "matmul_share") == 0.45
    assert find_goal(record, "trainer-best") is None
    record["result"]["workload"] = "tweets"
    assert find_goal(record, "trainer-best") == 3


def test_a_trainer_that_was_not_tried_compiled_is_marked_and_replaces_none():
    result = {"workload": "tweets", "against": "trainer-best", "ratio": 2.0}
    result |= {"ratio_low": 2.0, "ratio_high": 2.0, "machine": "bfloat16"}
    command = "python -m benchmarks.training --against trainer-best"
    shared = {"benchmark": "training", "variant": "a", "device": "a processor"}
    shared |= {"config": {"preset": "a", "device": "cpu"}, "result": result}
    shared["cpu"] = {"features": []}
    whole, partly = (
        {**shared, "command": one} for one in (command, f"{command} --no-compile")
    )
    assert tables._format_ratio(whole) == "2.00 (2.00–2.00)"
    assert tables._format_ratio(partly) == "2.00 (2.00–2.00) ‡"
    assert tables.newest([whole, partly]) == [whole, partly]


def test_running_out_of_memory_stays_in_the_table():
    result = {"ratio": None, "not_measured": "out of memory: tried to allocate"}
    assert tables._format_ratio({"result": result}) == "out of memory"


@pytest.mark.parametrize("name", SOURCES)
def test_workloads_without_their_file_use_the_sample_and_say_so(
    name, tmp_path, monkeypatch
):
    monkeypatch.setenv("KBERT_TEST_DATA", str(tmp_path))
    workload = load_workload(name, limit=20)
    assert not workload.is_real
    assert "bundled sample" in workload.data
    assert len(workload) == 20
    assert (workload.text_pairs is not None) == (name in ("mrpc", "stsb"))


def test_workloads_come_in_the_same_random_order(shared_data):
    shared_data("tweets")
    first, second = load_workload("tweets"), load_workload("tweets", limit=10)
    assert first.is_real
    assert first.texts[:10] == second.texts
    assert set(first.labels[:50]) == {0, 1}


def test_a_side_that_cannot_be_built_leaves_no_process_behind():
    code = """
from benchmarks.children import TrainingChild
options = {"workload": "tweets", "preset": "tiny-random", "batch_size": 4}
options |= {"device": "cpu", "precision": "float32", "limit": 40}
other = options | {"workload": "none"}
with TrainingChild("kbert", options), TrainingChild("trainer", other):
    pass
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1 and "RuntimeError: trainer: " in done.stderr


def test_plots_escape_what_they_show():
    assert "&lt;b&gt;" in plots._text(0, 0, "<b>")
