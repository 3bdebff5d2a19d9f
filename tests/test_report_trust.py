"""What a report says about trust: first, in full, escaped, and for every reader."""

import html.parser
import json
import re

import numpy as np
import pandas as pd
import pytest
import tiny
from report_case import make_run, make_trust

import kbert
from kbert import evaluation, report

CHECKS = [
    {
        "kind": "near_duplicates",
        "count": 14,
        "rows": [[3, 17], {"source": "train.csv", "row": 9}, *range(30, 50)],
        "advice": "Remove all but one.",
    }
]


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    texts, labels = tiny.write_texts(400, seed=3)
    labels = np.where(generator.random(400) < 0.15, 1 - labels, labels)
    frame = pd.DataFrame({"text": texts, "label": labels})
    frame["country"] = generator.choice(["de", "fr"], 400)
    frame["label"] = np.array(["negative", "positive"])[labels]
    return frame


@pytest.fixture(scope="module")
def splits(data):
    return kbert.load_splits(data, validation=0.25, test=0.3)


@pytest.fixture(scope="module")
def assessed(splits):
    """A trained model that is far too sure, and what is known of it afterwards."""
    pytest.importorskip("captum")
    model = tiny.build_model(dropout=0.0, optimizer=kbert.adamw(1e-2))
    model.fit(splits.train, epochs=3, batch_size=16, verbose=0)
    evaluation.fold_temperature(model, 0.3)
    model.metadata.clear()
    before = model.predict(splits.test)
    trust = report.assess(
        model, splits, slices=["country"], explain_mistakes=2, num_bootstrap=100,
        threshold=evaluation.ThresholdRule("f1", cost_false_negative=3),
    )  # fmt: skip
    return model, before, trust


def make_trusted_run(trust, **changes):
    names = ("negative", "positive")
    figures = evaluation.compute_metrics(
        trust.labels, trust.probabilities, names, num_bootstrap=20
    )
    fields = {
        "label_names": names, "documented": (), "deviations": (), "trust": trust,
        "checks": CHECKS, "metrics": figures, "labels": trust.labels,
        "probabilities": trust.probabilities, "split": trust.split,
    }  # fmt: skip
    return make_run(**(fields | changes))


# === assess ===


def test_one_call_calibrates_and_measures(assessed, splits):
    model, before, trust = assessed
    assert isinstance(trust, report.Trust)
    assert (trust.split, trust.fitted_on) == ("test", "validation")
    np.testing.assert_allclose(
        model.predict(splits.test), trust.probabilities, atol=1e-5
    )
    np.testing.assert_allclose(before, trust.probabilities_before, atol=1e-6)
    found = trust.calibration
    assert model.metadata["temperature"] == found["temperature"] > 1.5
    assert found["after"]["log_loss"] < found["before"]["log_loss"]
    assert found["before"] == evaluation.measure_calibration(splits.test.labels, before)
    (threshold,) = trust.thresholds
    assert model.metadata["threshold"] == threshold["threshold"]
    positive = splits.test.labels == 1
    chosen = trust.probabilities[:, 1] >= threshold["threshold"]
    assert threshold["chosen"]["recall"] == pytest.approx(chosen[positive].mean())
    assert (
        threshold["half"]["threshold"] == 0.5 and threshold["label_name"] == "positive"
    )
    assert [one["name"] for one in trust.slices] == ["length", "country"]
    assert trust.confusions and len(trust.explanations) == 2 and not trust.notes
    assert all(one["converged"] for one in trust.explanations)
    assert all(one["predicted"] != one["label_name"] for one in trust.explanations)
    rows = set(splits.test.rows.tolist())
    assert {one["row"] for one in trust.explanations} <= rows
    assert trust.baseline["split"] == "test"


def test_the_threshold_comes_from_validation_alone(assessed, splits):
    model, _, trust = assessed
    curve = evaluation.threshold_curve(
        splits.validation.labels, model.predict(splits.validation)[:, 1],
        cost_false_negative=3,
    )  # fmt: skip
    best = curve.thresholds[curve.best("f1")]
    assert trust.thresholds[0]["threshold"] == pytest.approx(best, abs=1e-4)


def test_without_a_test_part_it_says_that_the_figures_flatter(data):
    parts = kbert.load_splits(data, validation=0.3)
    model = tiny.build_model(compile=False)
    trust = report.assess(
        model, parts, baseline=False, explain_mistakes=0, calibrate=False
    )
    assert trust.split == trust.fitted_on == "validation"
    assert "fitted on, which flatters them" in trust.notes[0]
    assert trust.calibration is None and trust.warning is None
    assert "temperature" not in model.metadata
    # The best threshold of two classes is shown, with the command that would use it.
    assert "threshold" not in model.metadata and not trust.thresholds[0]["is_used"]
    run = make_trusted_run(trust)
    page = re.sub("<[^>]*>", "", report.render_html(run))
    assert "takes the likelier label" in page
    for text in (page, report.render_markdown(run)):
        assert f"{run.command} --threshold f1" in text


def test_without_a_validation_part_nothing_is_fitted(data):
    parts = kbert.load_splits(data, test=0.3)
    model = tiny.build_model(compile=False)
    before = tiny.read_weights(model)
    trust = report.assess(model, parts, baseline=False, explain_mistakes=0)
    assert trust.fitted_on is None and not trust.thresholds and not model.metadata
    assert "no validation part" in trust.notes[0]
    tiny.assert_same_weights(model, before)


def test_an_unknown_column_changes_nothing(splits):
    model = tiny.build_model(compile=False)
    before = tiny.read_weights(model)
    with pytest.raises(ValueError, match="no column 'contry'.*'country'"):
        report.assess(model, splits, slices=["contry"])
    tiny.assert_same_weights(model, before)


def test_mistakes_that_cannot_be_explained_are_said(splits, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    model = tiny.build_model(compile=False)
    trust = report.assess(model, splits, baseline=False, calibrate=False)
    assert not trust.explanations and "pip install kbert[trust]" in trust.notes[-1]


def test_what_cannot_be_assessed_is_said_and_loses_nothing(splits, monkeypatch):
    def fail(*arguments, **options):
        raise IndexError("row 3\nis gone")

    for name in ("fit_temperature", "find_confusions", "compare_with_baseline"):
        monkeypatch.setattr(evaluation, name, fail)
    model = tiny.build_model(compile=False)
    before = tiny.read_weights(model)
    trust = report.assess(model, splits, explain_mistakes=0)
    tiny.assert_same_weights(model, before)
    why = "IndexError: row 3 is gone."
    assert trust.notes == [
        f"The model is not calibrated: {why}",
        f"Confusions are not listed: {why}",
        f"There is no baseline: {why}",
    ]
    assert trust.slices and trust.thresholds and not trust.confusions
    page = report.render_html(make_trusted_run(trust))
    assert all(f"<li>{note}</li>" in page for note in trust.notes)


@pytest.mark.slow
def test_independent_labels_are_assessed_too(splits):
    keras = pytest.importorskip("keras")

    class Part:
        def __init__(self, split):
            self.split, self.texts, self.text_pairs = split, split.texts, None
            self.rows = split.rows
            self.labels = np.stack([split.labels, 1 - split.labels], axis=1)

        def __len__(self):
            return len(self.split)

    class Parts:
        label_names = ("glad", "sad")
        train, validation = Part(splits.train), Part(splits.validation)
        test = Part(splits.test)

    head = keras.layers.Dense(2, activation="sigmoid")
    model = tiny.build_model(label_names=["glad", "sad"], head=head, compile=False)
    predict = model.predict
    model.predict = lambda part, **given: predict(part.split, **given)
    try:
        trust = report.assess(model, Parts, explain_mistakes=1, num_bootstrap=20)
    finally:
        del model.predict
    assert len(model.metadata["thresholds"]) == 2 and not trust.confusions
    assert trust.explanations[0]["label_name"].removeprefix("not ") in ("glad", "sad")
    page = report.render_html(
        make_run(trust=trust, metrics={}, labels=None, probabilities=None)
    )
    assert page.count('id="thresholds-') and "Which probability is enough" in page


# === The report ===


def test_a_run_without_trust_is_as_it_was():
    run = make_run()
    page, found = report.render_html(run), run.to_json()
    assert "trust" not in found and "checks" not in found
    assert "<nav" not in page and 'class="skip"' not in page
    assert "Which probability" not in page and "wrong with the data" not in page


def test_what_does_not_beat_the_baseline_says_so_in_the_first_line(assessed):
    trust = assessed[2]
    baseline = trust.baseline | {"verdict": "worse", "sentence": "This model is <bad>."}
    worse = report.Trust(**{**vars(trust), "baseline": baseline})
    run = make_trusted_run(worse)
    assert run.to_json()["trust"]["warning"] == "This model is <bad>."
    assert report.render_markdown(run).startswith("> **This model is &lt;bad&gt;.**\n")
    page = report.render_html(run)
    main = re.sub(r"\s+", " ", page.split("<main>")[1])
    text = re.sub("<[^>]*>", "", main).strip()
    assert text.startswith("! This model is &lt;bad&gt;.")
    better = baseline | {"verdict": "better", "sentence": "It beats the baseline."}
    better["decided"] = "Both guess."
    run = make_trusted_run(report.Trust(**{**vars(trust), "baseline": better}))
    assert report.render_markdown(run).startswith("# ")
    for page in (report.render_html(run), report.render_markdown(run)):
        assert "It beats the baseline." in page and "Both guess." in page
    assert run.trust.warning is None


def test_every_section_is_on_the_page_and_in_markdown(assessed):
    run = make_trusted_run(assessed[2])
    page, text = report.render_html(run), report.render_markdown(run)
    for title in (
        "What is wrong with the data", "Beside a baseline", "What it takes for what",
        "Calibration", "Which probability is enough", "Where it is weak",
        "What its surest mistakes hang on",
    ):  # fmt: skip
        assert f"<h2>{title}</h2>" in page and f"## {title}" in text
    assert page.index("What is wrong with the data") < page.index("What was asked")
    assert "3 = 17, train.csv 9, 30" in page and "and 12 more" in page
    assert len(page.encode()) < 3_000_000
    assert not re.search(r"\n\n\n\n", text.split("## Data")[0].split("## Calib")[1])
    found = json.loads(json.dumps(run.to_json()))["trust"]
    assert "labels" not in found and found["calibration"]["temperature"] > 1
    assert found["explanations"][0]["words"]


def test_attributions_are_read_without_colour(assessed):
    run = make_trusted_run(assessed[2])
    page = report.render_html(run)
    style = page.split("<style>")[1].split("</style>")[0]
    assert ".word.against.marked { border-bottom-style: dashed; }" in style
    for one in run.trust.explanations:
        strongest = max(one["words"], key=lambda word: abs(word["attribution"]))
        kind = "for" if strongest["attribution"] > 0 else "against"
        assert re.search(rf'word {kind} marked"[^>]*>{strongest["text"]}</bdi>', page)
        signed = f"{strongest['attribution']:+,.3f}".replace("-", "\u2212")
        assert f"<bdi>{strongest['text']}</bdi> {signed}" in page


class Outline(html.parser.HTMLParser):
    """Collect what a screen reader and a keyboard go by."""

    def __init__(self, page):
        super().__init__()
        self.levels, self.ids, self.links = [], [], []
        self.bare_tables = self.scopeless = self.unnamed = 0
        self.in_trust = False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag == "a":
            self.links.append(given["href"])
        if tag == "th" and given.get("scope") not in ("row", "col"):
            self.scopeless += 1
        if tag == "svg" and not given.get("aria-label"):
            self.unnamed += 1
        if given.get("role") == "region" and not given.get("aria-label"):
            self.unnamed += 1
        if "tabindex" in given and int(given["tabindex"]) > 0:
            self.unnamed += 1


def test_the_page_can_be_used_by_keyboard_and_screen_reader(assessed):
    page = report.render_html(make_trusted_run(assessed[2]))
    outline = Outline(page)
    assert outline.levels[0] == 1 and outline.levels.count(1) == 1
    jumps = [b - a for a, b in zip(outline.levels, outline.levels[1:], strict=False)]
    assert max(jumps) == 1
    assert len(set(outline.ids)) == len(outline.ids)
    assert outline.links[0] == "#report" and len(outline.links) > 5
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)
    assert not outline.scopeless and not outline.unnamed
    for name in ("checks", "baseline", "calibration", "thresholds", "slices"):
        section = page.split(f'<section id="{name}">')[1].split("</section>")[0]
        assert section.count("<table") == section.count("<caption>") > 0, name
    assert "<script" not in page and "@media print" in page
    assert '<html lang="en">' in page


def luminance(color: str) -> float:
    values = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in values
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def mix(color: str, ground: str, share: float) -> str:
    pairs = [(int(color[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02x}" for a, b in pairs)


@pytest.mark.parametrize("theme", [0, 1])
def test_coloured_words_have_contrast_in_light_and_dark(theme):
    from kbert.report.rendering import read_palette

    block = read_palette().split("@media")[theme]
    colors = dict(re.findall(r"--([\w-]+): (#\w{6})", block))
    for name in ("series-1", "series-2"):
        ground = mix(colors[name], colors["page"], 0.45)
        assert contrast(colors["ink"], ground) >= 4.5, name
        assert contrast(colors[name], colors["page"]) >= 3, name  # the underline
    assert contrast(colors["muted"], colors["page"]) >= 4.5
    assert contrast(colors["warn"], colors["warn-tint"]) >= 4.5


def test_hostile_words_groups_and_findings_are_shown_and_do_nothing():
    attack = "<script>x</script>\x00\u202e|`*"
    check = {"kind": attack, "count": 1, "rows": [attack], "advice": attack}
    example = {"part": attack, "row": 1, "text": attack, "detail": attack}
    check |= {"sentence": attack, "examples": [example]}
    run = make_run(trust=make_trust(attack), checks=[check])
    page, text = report.render_html(run), report.render_markdown(run)
    assert "<script" not in page and "\x00" not in page and "\u202e" not in page
    assert page.count("&lt;script&gt;x") > 15
    assert "<script" not in text and "\u202e" not in text
    assert text.startswith("> **&lt;script&gt;x")
    json.dumps(run.to_json())


def test_of_many_labels_those_with_the_most_rows_are_shown():
    trust = make_trust()
    (one,) = trust.thresholds
    trust.thresholds = [{**one, "label_name": f"label {i}"} for i in range(300)]
    trust.labels = np.tile(np.arange(300) < 20, (120, 1)) * 1
    trust.labels[:, 299] = 1
    trust.labels[:5, 7] = 0
    trust.probabilities = trust.probabilities_before = np.full((120, 300), 0.5)
    run = make_run(trust=trust)
    page, text = report.render_html(run), report.render_markdown(run)
    for shown in (page, text):
        assert "label 299" in shown and "label 6<" in shown or "label 6 |" in shown
        assert "label 7 " not in shown and "label 7<" not in shown
        assert "20 labels with the most rows; 280 more are in report.json" in shown
    written = run.to_json()["trust"]["thresholds"]
    assert len(written) == 300 and all(one["chosen"] for one in written)
    assert sum(bool(one["points"]) for one in written) == 20
    assert len(page) < 1_000_000


@pytest.mark.slow
def test_no_findings_are_said_and_many_classes_have_no_threshold(data):
    page = report.render_html(make_run(checks=[]))
    assert "What is wrong with the data" in page and "Nothing wrong was found" in page
    generator = np.random.default_rng(0)
    many = data.assign(label=generator.choice(["a", "b", "c"], len(data)))
    parts = kbert.load_splits(many, validation=0.2, test=0.2)
    model = tiny.build_model(label_names=["a", "b", "c"], compile=False)
    trust = report.assess(model, parts, explain_mistakes=0, num_bootstrap=20)
    assert not trust.thresholds and "threshold" not in model.metadata
    assert trust.calibration is not None


def test_without_parts_that_are_large_enough_no_empty_table_is_shown(assessed):
    trust = assessed[2]
    few = [{**one, "groups": []} for one in trust.slices]
    run = make_trusted_run(report.Trust(**{**vars(trust), "slices": few}))
    for page in (report.render_html(run), report.render_markdown(run)):
        assert "No part has enough rows" in page
    assert "| by | part |" not in report.render_markdown(run)
    assert "| by | part |" in report.render_markdown(make_trusted_run(trust))
