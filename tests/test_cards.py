"""Result cards and the report on several trials: what records make of them."""

import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from record_case import make_record

from kbert import report
from kbert.recipes import (
    cards,
    comparison,
    console,
    lessons,
    mrpc,
    records,
    running,
    tweets,
    verdicts,
)
from kbert.recipes.experiment import Claim
from kbert.recipes.flags import Flags
from kbert.recipes.tweets import EXPERIMENT
from kbert.recipes.tweets_data import SAMPLE
from kbert.report import wording
from kbert.report.comparison import render_comparison_markdown

ROOT = Path(__file__).resolve().parent.parent
EMBEDDED = "all_minilm_l6_v2_en"
NOTICE = "The documented preset could not be fetched."
HOSTILE = "<script>alert(1)</script> | [x](javascript:y) `z` </table>"


def make_seeds(variant: str, *accuracies: float, **changes) -> list[dict]:
    return [
        make_record(variant, 42 + place, accuracy=accuracy, **changes)
        for place, accuracy in enumerate(accuracies)
    ]


THREE_EACH = [
    *make_seeds("fixed", 0.80, 0.82, 0.84),
    *make_seeds("documented", 0.79, 0.80, 0.81),
    *make_seeds("none", 0.90, 0.91, 0.92),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("cards") / "recipes"
    cards.add(THREE_EACH, root)
    return root


@pytest.fixture
def root(written, tmp_path):
    """A folder of cards with three records of each variant."""
    return Path(shutil.copytree(written, tmp_path / "recipes"))


def read_card(root: Path) -> str:
    return (root / "tweets.md").read_text("utf-8")


def rows_of(*found: dict) -> list[comparison.Row]:
    return comparison.compare(EXPERIMENT, found)


def describe(*found: dict) -> report.Comparison:
    return comparison.describe(EXPERIMENT, found, lambda one: f"{one['seed']}/x.html")


def test_the_committed_cards_are_what_their_records_give(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert cards.find_stale(Path("recipes")) == []


def test_mean_and_sd_are_those_of_the_sample():
    found = rows_of(*make_seeds("fixed", 0.80, 0.82, 0.84))[0].spread("accuracy")
    assert found["mean"] == pytest.approx(0.82) and found["sd"] == pytest.approx(0.02)
    assert found["n"] == 3
    assert verdicts.describe_values([0.80, 0.82, 0.84]) == "0.820 ± 0.020"


def test_one_seed_stands_alone():
    row = rows_of(make_record(accuracy=0.81))[0]
    assert row.spread("accuracy") == {"mean": 0.81, "sd": None, "n": 1}
    assert verdicts.describe_values([0.81]) == "0.810"
    assert "one seed, so there is no sd" in " ".join(lessons.learn([row]))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((0.82, 0.84, 0.86), "within 1 sd"),
        ((0.86, 0.87, 0.88), "above by 0.040"),
        ((0.79, 0.80, 0.81), "below by 0.030"),
        ((0.83,), "equal"),
        ((0.82, 0.83, 0.84), "equal"),
        ((0.73, 0.83, 0.93), "equal"),
        ((0.80,), "below by 0.030"),
        ((), ""),
    ],
)
def test_a_documented_figure_is_met_within_one_sd(values, verdict):
    claim = Claim("accuracy", 0.83, "accuracy")
    found = verdicts.describe_claim(claim, verdicts.sum_up(values))
    assert found["verdict"] == verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (0.89, "inside"),
        (0.9, "inside"),
        (0.92, "above by 0.010"),
        (0.8, "below by 0.090"),
    ],
)
def test_a_documented_range_is_judged_by_its_ends(value, verdict):
    claim = Claim("accuracy", 0.89, "accuracy", to=0.91)
    found = verdicts.describe_claim(claim, verdicts.sum_up([value]))
    assert found["verdict"] == verdict
    assert wording.claimed(found) == "0.89–0.91"
    row = {"measured": value, "documented": 0.89, "documented_to": 0.91}
    signs = {"inside": "+0.000", "above by 0.010": "+0.010"}
    assert wording.difference(row) == signs.get(verdict, "−0.090")


def test_a_run_that_repeats_a_defect_is_named_so():
    from kbert.recipes.spam import EXPERIMENT as SPAM

    one = make_record("frozen", recipe="spam")
    other = {**one, "as_documented": True, "deviations": ["It drops values."]}
    other["command"] += " --as-documented"
    card = comparison.describe(SPAM, [one, other], lambda record: "x.html")
    assert [row["name"] for row in card.rows] == ["frozen", "frozen, as documented"]
    text = render_comparison_markdown(card)
    assert "It drops values. (frozen, as documented)" in text
    assert "no dropout in the frozen encoder" in card.rows[0]["differences"]


def test_only_trials_set_the_same_way_are_averaged():
    other_data = make_record()["data"] | {"digest": "cd" * 32}
    found = [
        make_record(seed=42),
        make_record(seed=43),
        make_record(seed=42, flags="--epochs 1", changed=["epochs is 1"]),
        make_record(seed=42, flags="--limit 100", limit=100),
        make_record(seed=42, flags="--augment"),
        make_record(seed=42, preset="bert_base_en_uncased"),
        make_record(seed=42, data=other_data),
        make_record(seed=42, is_fallback=True, notices=[NOTICE]),
    ]
    assert sorted(len(row.records) for row in rows_of(*found)) == [1] * 6 + [2]
    names = {records.name_record(EXPERIMENT, one) for one in found}
    # The last two differ by what a name does not say.
    assert len(names) == 6


def test_a_records_name_says_what_was_run():
    found = make_record(
        "none",
        43,
        flags="--limit 200 --epochs 1 --as-documented",
        limit=200,
        as_documented=True,
    )
    assert records.name_record(EXPERIMENT, found) == (
        f"tweets-none-{EMBEDDED}-documented-limit200-epochs1-seed43"
    )
    gpu = found | {"device": {**found["device"], "kind": "cuda"}}
    assert records.name_record(EXPERIMENT, gpu).endswith("-epochs1-cuda-seed43")


def test_a_variant_without_defects_is_the_same_as_documented():
    def make(seed, variant, **more):
        found = make_record(seed=seed, **more)
        return found | {"recipe": "mrpc", "variant": variant}

    told = {"flags": "--as-documented", "as_documented": True}
    plain = [make(42, "learning_rate"), make(43, "learning_rate", **told)]
    assert len(comparison.compare(mrpc.EXPERIMENT, plain)) == 1
    one, other = (records.name_row(mrpc.EXPERIMENT, record) for record in plain)
    assert one == other
    chained = [make(42, "epochs"), make(43, "epochs", **told)]
    assert len(comparison.compare(mrpc.EXPERIMENT, chained)) == 2
    one, other = (records.name_row(mrpc.EXPERIMENT, record) for record in chained)
    assert other == f"{one}-documented"


def test_what_differs_from_the_document_is_said_in_words():
    few = {"rows": {"train": 5_000}, "is_documented": False}
    found = make_record(
        flags="--limit 6000", limit=6_000, data=make_record()["data"] | few
    )
    assert rows_of(found)[0].find_differences() == [
        f"smaller encoder: {EMBEDDED}",
        "5,000 of 6,090 training rows",
        "the document's defects mended",
    ]
    mine = make_record(data=few | {"digest": "ef", "source": "mine.csv"})
    words = "other data: mine.csv, 5,000 training rows"
    assert words in rows_of(mine)[0].find_differences()
    whole = make_record(
        "documented", preset=EXPERIMENT.preset, as_documented=True, is_comparable=True
    )
    assert rows_of(whole)[0].find_differences() == []


def test_the_command_repeats_all_seeds():
    row = rows_of(*make_seeds("none", 0.8, 0.8, 0.8))[0]
    assert row.write_command() == (
        "python -m kbert.recipes.tweets --cleaning none --data DATA --preset "
        f"{EMBEDDED} --seeds 3"
    )
    other = rows_of(make_record(seed=7, split_seed=7))[0]
    assert other.write_command().endswith("--seed 7")


def test_trials_on_other_cuts_of_the_data_are_not_averaged():
    one, other = make_record(seed=43), make_record(seed=43, split_seed=43)
    assert [len(row.records) for row in rows_of(one, other)] == [1, 1]


def test_lessons_follow_from_the_figures_alone():
    found = " ".join(lessons.learn(rows_of(*THREE_EACH)))
    assert "By validation accuracy, none is best of 3 variants: 0.910 ± 0.010" in found
    assert "0.090 apart, more than the larger sd (0.020)" in found
    assert "No run of 9 collapsed" in found
    assert f"All runs differ from the document (smaller encoder: {EMBEDDED}" in found
    close = [*make_seeds("fixed", 0.80, 0.82), *make_seeds("none", 0.81, 0.82)]
    assert "do not tell them apart" in " ".join(lessons.learn(rows_of(*close)))
    level = [*make_seeds("fixed", 0.80, 0.82), *make_seeds("none", 0.82, 0.80)]
    found = " ".join(lessons.learn(rows_of(*level)))
    assert "fixed and none are level" in found and "best" not in found
    single = [make_record("fixed"), make_record("none", accuracy=0.9, collapsed=True)]
    found = " ".join(lessons.learn(rows_of(*single)))
    assert "a single seed cannot tell that from chance" in found
    assert "1 of 2 runs predict one class only (none)" in found
    # Its defect repeated, a variant stands beside no other; mended, it does.
    chained = make_record("documented", flags="--as-documented", as_documented=True)
    assert "best of" not in " ".join(lessons.learn(rows_of(*single[:1], chained)))
    tested = make_record("none", accuracy=0.9) | {"split": "test"}
    assert "best of" not in " ".join(lessons.learn(rows_of(*single[:1], tested)))


def test_a_card_has_every_claim_of_every_variant(root):
    card = read_card(root)
    for claim in EXPERIMENT.variants["fixed"].claims:
        note = f" ({claim.note})" if claim.note else ""
        line = f"| {claim.name}{note} | {claim.value:g} |"
        assert card.count(line) == 3, claim.name
    assert "0.820 ± 0.020 | 3 | within 1 sd" in card
    assert "## What we learned" in card and "ab" * 32 in card
    assert card.count("](plots/") == 3 and card.count("](results/") == 9
    for plot in re.findall(r"\]\((plots/[^)]*)\)", card):
        assert (root / plot).read_text("utf-8").startswith("<svg ")


def test_a_card_has_what_training_was_measured_to_need(tmp_path):
    root = tmp_path / "recipes"
    figures = {f"peak memory at batch {size}, MiB": 256.0 * size for size in (8, 32)}
    record, other = make_record(), make_record(seed=43)
    record["figures"] |= figures
    record["settings"] = {**record["settings"], "max_length": 84}
    cards.add([record, other], root)
    assert "## What training needs in memory" in read_card(root)
    for cells in ("8 | 84 | 2.0 GiB", "16 | 84 | not enough", "32 | 84 | 8.0 GiB"):
        assert f" | {cells} | a processor, " in read_card(root)
    cards.add([{**record, "figures": other["figures"]}], root)
    assert "in memory" not in read_card(root)


def test_epochs_chosen_on_the_measured_rows_are_ranked_apart():
    """What chose the epoch flatters it, so it is not compared with last epochs."""
    chosen = {"settings": {**THREE_EACH[0]["settings"], "patience": 2}}
    rows = rows_of(
        *make_seeds("fixed", 0.80, 0.82),
        *make_seeds("documented", 0.79, 0.80),
        *make_seeds("none", 0.90, 0.91, **chosen),
    )
    (sentence,) = [line for line in lessons.learn(rows) if line.startswith("By valid")]
    assert "fixed is best of 2 variants" in sentence


def test_what_was_not_measured_says_why_and_with_which_command(tmp_path):
    cards.add([make_record("none")], tmp_path)
    card = read_card(tmp_path)
    why = r"needs the weights of bert\_base\_en\_uncased, which no recorded run had"
    assert card.count(f"not measured: {why}") == 2
    others = [one for one in tweets.EXPERIMENT.variants if one != "none"]
    claims = [len(tweets.EXPERIMENT.variants[one].claims) for one in others]
    assert card.count("| not measured") == sum(claims) == len(tweets.CLAIMS) + 1
    assert (
        "`python -m kbert.recipes.tweets --cleaning documented --data DATA --preset "
        "bert_base_en_uncased --as-documented --card`"
    ) in card
    assert (tmp_path / "README.md").read_text("utf-8").count(why) >= 4


def test_fresh_cards_are_not_stale_and_are_written_once(root):
    assert cards.find_stale(root) == []
    assert cards.write_cards(root) == []


def edit_figure(record):
    record["figures"]["accuracy"] += 0.1


def edit_what_no_table_shows(record):
    record["device"]["memory_bytes"] = 1


@pytest.mark.parametrize("edit", [edit_figure, edit_what_no_table_shows])
def test_an_edited_record_makes_its_card_stale(root, edit):
    path = root / "results" / f"tweets-fixed-{EMBEDDED}-seed43.json"
    record = json.loads(path.read_text("utf-8"))
    edit(record)
    path.write_text(json.dumps(record), "utf-8")
    assert any("tweets.md is not what the records" in x for x in cards.find_stale(root))
    cards.write_cards(root)
    assert cards.find_stale(root) == []


def test_an_edited_card_or_plot_is_stale(root):
    card, plot = root / "tweets.md", root / "plots" / f"tweets-none-{EMBEDDED}.svg"
    card.write_text(read_card(root).replace("0.820", "0.920"), "utf-8")
    plot.write_text(plot.read_text("utf-8").replace("0.91", "0.99"), "utf-8")
    assert [line.split(" is ")[0] for line in cards.find_stale(root)] == [
        str(card),
        str(plot),
    ]


def test_what_is_missing_is_listed(root):
    record = f"results/tweets-none-{EMBEDDED}-seed44.json"
    plot = root / "plots" / f"tweets-fixed-{EMBEDDED}.svg"
    stray = root / "plots" / "tweets-other.svg"
    (root / record).unlink()
    plot.rename(stray)
    found = " ".join(cards.find_stale(root))
    assert f"tweets.md names {record}, which is missing" in found
    assert f"{plot} is missing" in found
    assert f"{stray} comes from no record" in found
    cards.write_cards(root)
    assert plot.is_file() and not stray.exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is no record"),
        (json.dumps(make_record() | {"variant": "gone"}), "is no record"),
        (json.dumps(make_record() | {"recipe": "gone"}), "is no record"),
        (json.dumps(make_record(seed=43)), "rename it"),
    ],
)
def test_a_file_that_is_no_record_is_one_sentence(root, text, sentence):
    path = root / "results" / f"tweets-fixed-{EMBEDDED}-seed42.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=sentence) as error:
        cards.find_stale(root)
    assert str(path) in str(error.value)


def test_cards_are_written_where_their_folder_is(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert cards.main() == 1
    assert "no folder recipes here" in capsys.readouterr().err
    cards.add([make_record()])
    (tmp_path / "recipes" / "README.md").unlink()
    assert cards.main() == 0
    assert "README.md" in capsys.readouterr().out
    assert not (tmp_path / "kbert").exists()


def test_times_stand_in_the_package_of_the_checkout_only(root):
    assert not [path for path in cards.build_pages(root) if path.suffix == ".json"]
    times = cards.build_pages(ROOT / "recipes")[ROOT / "kbert/recipes/measured.json"]
    assert set(json.loads(times)["tweets"]) == {"cpu_seconds", "gpu_seconds"}
    gpu = {"device": {"kind": "cuda", "name": "a GPU", "precision": "bfloat16"}}
    found = [make_record(), make_record(**gpu, seconds={"total": 12.34})]
    found.append(make_record(flags="--limit 9", limit=9, seconds={"total": 1.0}))
    texts = {str(place): json.dumps(one) for place, one in enumerate(found)}
    assert cards.measure_times(records.Results(EXPERIMENT, texts)) == {
        "cpu_seconds": 130.5,
        "gpu_seconds": 12.3,
    }


def test_no_path_of_a_machine_gets_into_a_record(tmp_path):
    found = make_record(
        preset="/home/someone/models/my_bert",
        deviations=["The encoder is C:\\Users\\someone\\bert; it ran at 3 texts/s."],
        data=make_record()["data"] | {"source": "see https://example.org/a/b"},
    )
    (path,) = cards.add([found], tmp_path)
    text = path.read_text("utf-8")
    assert path.name == "tweets-fixed-my_bert-seed42.json"
    assert "someone" not in text and "--preset my_bert" in text
    assert "https://example.org/a/b" in text and "3 texts/s" in text


def test_a_fallback_is_refused_and_nothing_is_written(tmp_path):
    found = [make_record(), make_record(is_fallback=True, notices=[NOTICE])]
    with pytest.raises(ValueError, match="--card takes no run with a stand-in"):
        cards.add(found, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_card_of_a_fallback_is_refused_before_training(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        "kbert.recipes.tweets_data.find_kaggle_competition", lambda name: None
    )
    monkeypatch.setattr(running, "run_trial", lambda *_, **__: pytest.fail("trained"))
    argv = ["--card", "--preset", EMBEDDED, "--out", str(tmp_path / "run")]
    assert tweets.main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --card takes no run") and "--data" in line
    assert not (tmp_path / "run").exists()


def test_a_fallback_never_stands_beside_documented_figures(tmp_path):
    found = make_seeds("fixed", 0.801, 0.803, is_fallback=True, notices=[NOTICE])
    report.write_comparison(report.RunFolder(tmp_path), describe(*found))
    written = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert all(claim["mean"] is None for claim in written["rows"][0]["claims"])
    for name in ("report.html", "report.md"):
        text = (tmp_path / name).read_text("utf-8")
        before, after = text.split("What the document states")
        assert "0.802 ± 0.001" in before
        table = re.split("Deviations|The runs", after)[0]
        assert "0.83" in table and "±" not in table and "0.80" not in table
        assert before.index(NOTICE) < before.index("0.802")


def test_the_report_on_several_trials_has_what_programs_read(tmp_path):
    folder = report.RunFolder(tmp_path)
    comparison.write(folder, EXPERIMENT, THREE_EACH)
    written = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert [row["name"] for row in written["rows"]] == ["fixed", "documented", "none"]
    claims = {claim["key"]: claim for claim in written["rows"][1]["claims"]}
    assert claims["train_seconds"]["documented"] == 221
    # The document has no such row, so that it is set beside its score alone.
    (claim,) = written["rows"][0]["claims"]
    assert claim["key"] == "batch_mean_accuracy"
    assert claim["documented"] == 0.83 and claim["mean"] == pytest.approx(0.82)
    assert claim["sd"] == pytest.approx(0.02) and claim["n"] == 3
    assert written["rows"][0]["num_collapsed"] == 0
    assert len(written["records"]) == 9
    page = (tmp_path / "report.html").read_text("utf-8")
    assert 'href="documented-seed43/report.html"' in page
    assert page.count("<svg") == 3 and "0.820 ± 0.020" in page
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("field", ["preset", "device", "deviations", "data"])
def test_hostile_names_are_shown_and_do_nothing(field, tmp_path):
    record = make_record()
    values = {
        "preset": record["preset"] | {"name": HOSTILE},
        "device": record["device"] | {"name": HOSTILE},
        "deviations": [HOSTILE],
        "data": record["data"] | {"source": HOSTILE, "is_documented": False},
    }
    found = make_record() | {field: values[field]}
    cards.add([found], tmp_path)
    comparison.write(report.RunFolder.create(tmp_path / "run"), EXPERIMENT, [found])
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "&lt;script&gt;" in page and "<script" not in page
    for path in (tmp_path / "run" / "report.md", tmp_path / "tweets.md"):
        text = path.read_text("utf-8")
        assert "&lt;script&gt;" in text and "<script" not in text
        assert r"\| \[x\](javascript:y) \`z\` &lt;/table&gt;" in text
        assert "</table>" not in text


BUILT = {
    "preset": "big",
    "num_parameters": 1_000_000,
    "num_steps": 2,
    "batch_size": 8,
    "max_length": 512,
    "precision": "bfloat16",
    "peak_bytes": 2**31,
    "seconds": 61.0,
    "losses": [0.7, 0.6],
    "file_bytes": 2**30,
    "reload_difference": 0.0,
    "place": "builds/big.json",
}


NEEDED = {
    "preset": "big",
    "max_length": 512,
    "device": {"name": "a processor", "precision": "float32"},
    "batch_size": 8,
    "peak_bytes": 3 * 2**30,
}


def test_a_card_is_rendered_from_a_comparison_alone():
    card = report.Card(
        comparison=describe(),
        place="tweets.md",
        unmeasured=[],
        missing=[{"name": "fixed", "why": "not run yet", "command": "a `b` | c"}],
        plots=[],
        memory=[NEEDED, {**NEEDED, "batch_size": 16, "peak_bytes": None}],
        builds=[BUILT],
        digests={},
    )
    assert isinstance(card.comparison, report.Comparison)
    text = report.render_card(card)
    assert r"| fixed | not run yet | `` a `b` \| c `` |" in text
    assert "Nothing yet: no run is recorded." in text
    assert "| big | 1,000,000 | 8 × 512 tokens, bfloat16 | 2.0 GiB |" in text
    assert "| big | 8 | 512 | 3.0 GiB | a processor, float32 |" in text
    assert "| big | 16 | 512 | not enough |" in text
    assert "[The card](tweets.md)" in report.render_cards([card])
    assert report.describe_plots(card) == {}


def test_a_plot_says_what_it_shows():
    card = report.Card(
        comparison=describe(*make_seeds("fixed", 0.8, 0.9)),
        place="tweets.md",
        unmeasured=[],
        missing=[],
        plots=["plots/a.svg"],
        memory=[],
        builds=[],
        digests={f"{seed}/x.html": "ab" for seed in (42, 43)},
    )
    (sentence,) = report.describe_plots(card).values()
    assert "accuracy, validation, seed 43: 0.87, 0.88, 0.89, 0.9" in sentence
    svg = report.draw_plot(card, "plots/a.svg")
    assert report.find_description(svg) == sentence
    assert "<script" not in svg and "prefers-color-scheme: dark" in svg


def test_the_console_aligns_documented_and_measured(tmp_path, capsys):
    collapsed = make_record("none", 44, accuracy=0.57, collapsed=True)
    console.summarise_all(
        EXPERIMENT, report.RunFolder(tmp_path), [*THREE_EACH[:-1], collapsed]
    )
    lines = capsys.readouterr().out.splitlines()
    head = lines[1]
    assert re.split("  +", head) == [
        "Variant", "Figure", "Documented", "Mean ± sd", "n", "One class only",
    ]  # fmt: skip
    batches = next(line for line in lines if "mean over batches" in line)
    assert batches.index("0.83") + 4 == head.index("Documented") + len("Documented")
    assert re.split("  +", batches.strip())[1:] == ["0.83", "0.820 ± 0.020", "3"]
    none = next(line for line in lines if line.startswith("none"))
    assert none.endswith(" 1") and len(none) == len(head)
    assert str(tmp_path / "report.html") in lines[-1]


def test_the_console_shows_no_documented_figure_of_a_fallback(tmp_path, capsys):
    found = [make_record(is_fallback=True, notices=[NOTICE])]
    console.summarise_all(EXPERIMENT, report.RunFolder(tmp_path), found)
    printed = capsys.readouterr().out
    assert "0.83" not in printed and NOTICE in printed


def test_several_trials_leave_a_report_and_a_card(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run_trial(trial, *, keep_model):
        found = make_record(trial.name, trial.seed)
        trial.folder.write_json("record.json", found)
        return found

    monkeypatch.setattr(running, "run_trial", run_trial)
    flags = Flags(
        data=SAMPLE, preset=EMBEDDED, seeds=2, out=tmp_path / "run", card=True
    )
    with contextlib.redirect_stdout(io.StringIO()):
        running.run_experiment(EXPERIMENT, flags, ["fixed", "none"])
    assert (tmp_path / "run" / "report.html").is_file()
    assert (tmp_path / "run" / "none-seed43" / "record.json").is_file()
    assert len(list((tmp_path / "recipes" / "results").iterdir())) == 4
    assert cards.find_stale(Path("recipes")) == []
