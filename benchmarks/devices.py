"""Devices: the same training on a CPU and on a GPU.

Run:    python -m benchmarks.devices --workload tweets

Same weights, same rows in the same order, same number of updates, a process each. The
losses after training are printed beside the speeds. Without a GPU it says so.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks import command, keras_sides, machine, plans, records
from benchmarks.tasks import WARMUP_STEPS, build_task
from benchmarks.training import measure_loss
from benchmarks.workloads import ROOT


def main(argv: list[str] | None = None) -> dict:
    """Compare as the command line asks; return the result."""
    if argv is None and "--child" in sys.argv[1:]:
        return _run_child(json.loads(sys.stdin.read()))
    args = _parse(argv)
    has_gpu = _has_gpu()
    runs = {"cpu": _start_child(args, "cpu")}
    runs["cuda"] = _start_child(args, "cuda") if has_gpu else None
    if not has_gpu:
        print("There is no GPU here: nothing is compared.")
    ratio = None
    if runs["cpu"] and runs["cuda"]:
        ratio = runs["cuda"]["texts_per_second"] / runs["cpu"]["texts_per_second"]
    result = {
        "workload": args.workload,
        "against": "cpu",
        "preset": Path(args.preset).name,
        "ratio": ratio,
        "gpu": runs["cuda"]["name"] if runs["cuda"] else None,
        "runs": runs,
    }
    record = records.build_record(
        "devices",
        f"{args.workload}-{Path(args.preset).name}",
        result,
        args,
        config={
            "preset": Path(args.preset).name,
            "batch_size": args.batch_size,
            "dtype": args.precision,
            "device": "cuda" if has_gpu else "cpu",
        },
        warmup_steps=WARMUP_STEPS["cuda" if has_gpu else "cpu"],
        timed_steps=args.steps,
        samples_seconds={
            device: run["samples_seconds"] for device, run in runs.items() if run
        },
    )
    return records.finish(record, args.results)


def _parse(argv) -> argparse.Namespace:
    parser = command.build_parser(__doc__)
    command.add_model_flags(parser, workload="tweets")
    parser.add_argument("--steps", type=int, help="timed steps a repeat; default 20")
    args = command.parse(parser, argv)
    args.steps = args.steps or (2 if args.quick else 20)
    return args


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _start_child(args, device: str) -> dict | None:
    options = command.task_options(args) | {"device": device}
    order = {"task": options, "steps": args.steps, "repeats": args.repeats}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.devices", "--child"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"{device}: failed: {reason}")
        return None
    run = json.loads(done.stdout.splitlines()[-1])
    rate, loss = run["texts_per_second"], run["loss"]
    print(f"{device}: {rate:.1f} texts/s, held-out loss {loss:.4f}; {run['name']}")
    return run


def _run_child(order: dict) -> dict:
    device = order["task"]["device"]
    machine.prepare_process(device)
    task = build_task(**order["task"])
    plan = plans.build_plan(
        task.lengths,
        batch_size=task.batch_size,
        num_warmup=WARMUP_STEPS[device],
        num_timed=order["steps"],
    )
    side = keras_sides.KbertSide(task)
    seconds = [
        side.train(plan.ours, plan.num_warmup).seconds for _ in range(order["repeats"])
    ]
    rate = len(plan.timed) / statistics.median(seconds)
    loss = measure_loss(side.predict(plan.held_out), task, plan.held_out)
    result = {
        "name": machine.describe_machine(device)["device"],
        "texts_per_second": rate,
        "loss": loss,
        "samples_seconds": seconds,
        "settings": side.settings,
        "real_texts": task.workload.is_real,
    }
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    main()
