"""`kbert presets`: the encoders to start from."""

from dataclasses import asdict, dataclass
from typing import Any

from kbert.commands.output import print_json

_LANGUAGES = {"en": "English", "zh": "Chinese", "multilingual": "104 languages"}


@dataclass(frozen=True, kw_only=True)
class Flags:
    """List the encoders to start from."""

    json: bool = False  # print one JSON object


def run(flags: Flags) -> None:
    """List the presets.

    Args:
        flags: of the command.
    """
    from kbert.presets import is_cached, list_presets

    rows: list[dict[str, Any]] = [
        {
            **asdict(info),
            "languages": _LANGUAGES[info.language],
            "cached": is_cached(info.name),
        }
        for info in list_presets()
    ]
    if flags.json:
        print_json({"presets": rows})
        return
    width = max(len(row["name"]) for row in rows)
    print(f"{'name'.ljust(width)}  weights  cached  languages")
    for row in rows:
        size = f"{row['parameters'] / 1e6:,.0f} M"
        mark = "yes" if row["cached"] else "no"
        print(f"{row['name'].ljust(width)}  {size:>7}  {mark:<6}  {row['languages']}")
    print(
        "\nCached ones need no network. hf://owner/name takes any BERT, DistilBERT or "
        "RoBERTa\ncheckpoint of the Hugging Face hub, and a folder's path what "
        "transformers wrote."
    )
