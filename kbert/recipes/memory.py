"""What training needs in memory, measured for each batch size in a process of its own.

A process that has trained on large batches keeps what it got, so that its peak would
hide that of smaller ones; and a process that runs out of memory takes nobody with it.
"""

import functools
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbert.report.wording import gigabytes

if TYPE_CHECKING:
    from kbert.recipes.trial import Trial

BATCH_SIZES = (8, 16, 32)
NUM_STEPS = 2  # the second has the optimizer's state beside it
_FIGURE = "peak memory at batch {}, MiB"  # what a trial's figure is named
_KILLED = (-9, 137)  # what an operating system does to processes that ask for too much


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is trained to be measured.

    Args:
        preset: name or folder of the encoder.
        batch_size: texts a step, each as long as `max_length` allows.
        max_length: tokens a text has.
        precision: format of the matrix products.
        device: where to train: `auto`, `cpu` or `cuda`.
    """

    preset: str
    batch_size: int
    max_length: int
    precision: str = "auto"
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a batch size was found to need.

    Args:
        batch_size: texts a step.
        peak_bytes: most memory at any moment: on a CPU that of the whole process, on a
            GPU what torch had allocated; `None`: there was not enough.
        num_parts: parts that kbert cut each batch into to make do with a GPU's memory.
    """

    batch_size: int
    peak_bytes: int | None
    num_parts: int = 1

    def describe(self) -> str:
        """Return such as `batch 16: 3.1 GiB`."""
        if self.peak_bytes is None:
            return f"batch {self.batch_size}: not enough memory"
        parts = f" in {self.num_parts} parts" if self.num_parts > 1 else ""
        return f"batch {self.batch_size}{parts}: {gigabytes(self.peak_bytes)}"


@functools.cache  # the stages of a recipe would all find the same
def measure_memory(
    preset: str,
    max_length: int,
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    precision: str = "auto",
    device: str = "auto",
) -> tuple[Need, ...]:
    """Measure what two training steps need at each batch size.

    Args:
        preset: name or folder of the encoder.
        max_length: tokens that every text has, so that nothing is gained by padding.
        batch_sizes: a tuple of texts a step.
        precision: format of the matrix products.
        device: where to train: `auto`, `cpu` or `cuda`.

    Returns:
        What each batch size needs, in their order.

    Raises:
        RuntimeError: training failed for another reason than memory.
    """
    return tuple(
        _measure(
            Order(
                preset=preset,
                batch_size=batch_size,
                max_length=max_length,
                precision=precision,
                device=device,
            )
        )
        for batch_size in batch_sizes
    )


def _measure(order: Order) -> Need:
    done = subprocess.run(
        [sys.executable, "-m", "kbert.recipes.memory"],
        input=json.dumps(asdict(order)),
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return Need(**json.loads(done.stdout.splitlines()[-1]))
    reason = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
    if done.returncode in _KILLED or "memory" in reason.lower():
        return Need(batch_size=order.batch_size, peak_bytes=None)
    raise RuntimeError(
        f"the memory of batches of {order.batch_size} could not be measured: {reason}"
    )


def note_memory(trial: "Trial") -> None:
    """Measure what a trial's training needs at each batch size, and note it.

    Before training, when a GPU's memory is still free.

    Args:
        trial: the trial; its `extra`, `files` and the sentences on its data
            get the figures, its folder `memory.csv`.
    """
    max_length = trial.settings.max_length or trial.find_longest()
    needs = measure_memory(
        trial.preset.name,
        max_length,
        precision=trial.flags.precision,
        device=trial.flags.device,
    )
    words = "; ".join(need.describe() for need in needs)
    for need in needs:
        if need.peak_bytes is not None:
            trial.extra[_FIGURE.format(need.batch_size)] = need.peak_bytes / 2**20
    trial.folder.write_csv("memory.csv", [asdict(need) for need in needs])
    trial.files["Memory"] = words
    sentence = f"Training on texts of {max_length} tokens each needs, at {words}."
    sentences = (*trial.material.sentences, sentence)
    trial.material = replace(trial.material, sentences=sentences)


def read_memory(figures: Mapping[str, float]) -> list[Need]:
    """Read back what `note_memory` noted.

    Args:
        figures: of a trial.

    Returns:
        What each batch size needs; nothing where it was not measured.
    """
    found = {size: figures.get(_FIGURE.format(size)) for size in BATCH_SIZES}
    if not any(found.values()):
        return []
    return [
        Need(batch_size=size, peak_bytes=None if mib is None else round(mib * 2**20))
        for size, mib in found.items()
    ]


def train_two_steps(order: Order) -> Need:
    """Train two steps in this process and read its peak.

    Args:
        order: what to train.

    Returns:
        What it needed, everything included that the process held before.
    """
    import torch

    import kbert
    from kbert.devices import use_device

    with use_device(order.device):
        model = kbert.build_classifier(
            order.preset,
            num_classes=2,
            max_length=order.max_length,
            precision=order.precision,  # type: ignore[arg-type]  # checked there
        )
        model.compile(kbert.adamw(1e-5), "sparse_categorical_crossentropy")
        num_texts = NUM_STEPS * order.batch_size
        texts = ["film " * order.max_length] * num_texts
        labels = [number % 2 for number in range(num_texts)]
        model.fit(texts, labels, batch_size=order.batch_size, verbose=0)
    if model.weights[0].value.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = read_peak()
    parts = model._recovery.num_parts
    return Need(batch_size=order.batch_size, peak_bytes=peak, num_parts=parts)


def read_peak() -> int:
    """Read the most memory that this process had at any moment.

    Returns:
        Bytes.
    """
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, where ru_maxrss starts from what the parent had
        found = status.read_text().partition("VmHWM:")[2]
        return int(found.split()[0]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Do what the parent process orders on standard input, and print what it needed."""
    order: dict[str, Any] = json.load(sys.stdin)
    print(json.dumps(asdict(train_two_steps(Order(**order)))))


if __name__ == "__main__":
    main()
