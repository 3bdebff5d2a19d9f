"""Tagged words: files read, words to tokens, training, figures and predictions."""

import json

import numpy as np
import pytest
import task_cases
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

import kbert
from kbert.evaluation.entities import build_tag_rules, measure_entities
from kbert.tasks import Request
from kbert.tasks.tag import TASK, TaggedText
from kbert.tasks.tag_data import read_sentences
from kbert.tasks.words import encode_words, split_words
from kbert.token_heads import EntityF1, WordAccuracy

CONLL = """-DOCSTART- -X- -X- O

the DT B-NP O
film NN I-NP B-FILM
good JJ I-NP I-FILM

actor NN B-NP B-PER

-DOCSTART- -X- -X- O
cold JJ B-NP O
"""
TAGS = ("O", "B-PER", "I-PER", "B-FILM", "I-FILM")


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def write_corpus(num_sentences, seed=0):
    """Return sentences whose tags a tiny encoder can learn: two kinds of words."""
    generator = np.random.default_rng(seed)
    words, tags = [], []
    for _ in range(num_sentences):
        kinds = generator.integers(0, 3, generator.integers(1, 7))
        lists = (("the", "a", "is", "was"), tiny.PLEASANT, tiny.UNPLEASANT)
        words.append([str(generator.choice(lists[kind])) for kind in kinds])
        tags.append([("O", "B-PER", "B-FILM")[kind] for kind in kinds])
    return words, tags


# === Reading ===


def test_a_conll_file_is_read_sentence_by_sentence(tmp_path):
    path = write(tmp_path, "train.txt", CONLL)
    sentences, words, digest = read_sentences(path)
    assert sentences.words == [["the", "film", "good"], ["actor"], ["cold"]]
    assert sentences.tags == [["O", "B-FILM", "I-FILM"], ["B-PER"], ["O"]]
    assert sentences.groups.tolist() == [1, 1, 2]
    assert words == f"CoNLL file {path}" and len(digest) == 64
    tabs = write(tmp_path, "tabs.conll", "New York\tB-LOC\r\nis\tO\r\n")
    assert read_sentences(tabs)[0].words == [["New York", "is"]]
    chunks = read_sentences(path, label="2")[0]
    assert chunks.tags[0] == ["B-NP", "I-NP", "I-NP"]


def test_a_file_of_words_alone_is_untagged(tmp_path):
    sentences = read_sentences(write(tmp_path, "a.txt", "the\nfilm\n\nis\n"))[0]
    assert sentences.words == [["the", "film"], ["is"]] and sentences.tags is None


def test_json_lines_are_read_by_their_fields(tmp_path):
    rows = [{"tokens": ["a", "b"], "ner_tags": ["O", "B-X"]}, {"tokens": ["c"]}]
    rows[1]["ner_tags"] = ["I-X"]
    text = "\n".join(map(json.dumps, rows))
    sentences = read_sentences(write(tmp_path, "a.jsonl", text))[0]
    assert sentences.tags == [["O", "B-X"], ["I-X"]]
    renamed = text.replace("tokens", "w").replace("ner_tags", "t")
    path = write(tmp_path, "b.jsonl", renamed)
    assert read_sentences(path, text="w", label="t")[0].words == [["a", "b"], ["c"]]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        (
            "a.txt",
            "the O\nfilm\n",
            r"a.txt line 2 has 1 columns and the lines before 2",
        ),
        ("a.txt", "the O\nfilm PER\n", r"a.txt line 2: the tag 'PER' is neither"),
        ("a.txt", "\n \n", "is empty"),
        ("a.jsonl", "{", "a.jsonl line 1 is not JSON"),
        ("a.jsonl", "[1]", "a.jsonl line 1 is no JSON object"),
        ("a.jsonl", '{"words": ["a"], "x": 1}', "has no tags; name"),
        ("a.jsonl", '{"text": "a"}', "line 1 has no 'tokens'. It has text"),
        ("a.jsonl", '{"tokens": "a b", "tags": ["O"]}', "the words must be a list"),
        ("a.jsonl", '{"tokens": ["a", " "], "tags": ["O", "O"]}', "that is not blank"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["O", "O"]}', "1 words and 2 tags"),
        ("a.jsonl", '{"tokens": ["a"], "tags": [3]}', "tags must be strings"),
        ("a.txt", "a O\n\nb O\n", "all words of a.txt have the tag 'O'"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_sentence(tmp_path, name, text, sentence):
    path = write(tmp_path, name, text)
    with pytest.raises(ValueError, match=sentence):
        TASK.load(Request(source=path, validation=None))


def test_a_missing_column_is_one_sentence(tmp_path):
    path = write(tmp_path, "a.txt", CONLL)
    for label, sentence in ((9, "none of number 9"), ("ner", "must be the number")):
        with pytest.raises(ValueError, match=sentence):
            read_sentences(path, label=label)
    with pytest.raises(FileNotFoundError, match="did you mean 'a.txt'"):
        read_sentences(tmp_path / "b.txt")


def test_a_folders_own_parts_come_first_and_an_unknown_tag_is_named(tmp_path):
    write(tmp_path, "train.txt", CONLL)
    write(tmp_path, "valid.txt", "good B-FILM\n")
    splits = TASK.load(Request(source=tmp_path, validation=0.3))
    assert splits.label_names == ("O", "B-FILM", "I-FILM", "B-PER", "I-PER")
    assert [label.tolist() for label in splits.validation.labels] == [[1]]
    assert splits.test is None and list(splits.parts) == ["train", "validation"]
    write(tmp_path, "test.txt", "x O\n\ny B-LOC\n")
    with pytest.raises(ValueError, match="'B-LOC' of sentence 1 of test.txt"):
        TASK.load(Request(source=tmp_path))


def test_a_share_is_cut_by_document(tmp_path):
    documents = [
        "-DOCSTART- O\n\n" + f"w{document} B-X\n\nthe O\n\n" * (1 + document % 4)
        for document in range(40)
    ]
    path = write(tmp_path, "all.txt", "".join(documents))
    splits = TASK.load(Request(source=path, validation=0.2, test=0.25, seed=3))
    groups = {name: set(part.groups) for name, part in splits.parts.items()}
    assert len(set.union(*groups.values())) == sum(map(len, groups.values())) == 40
    assert len(splits.test) == pytest.approx(50, abs=8)
    assert len(splits.validation) == pytest.approx(40, abs=8)
    again = TASK.load(Request(source=path, validation=0.2, test=0.25, seed=3))
    assert again.test.words == splits.test.words
    other = TASK.load(Request(source=path, validation=0.2, test=0.25, seed=4))
    assert other.test.words != splits.test.words
    few = TASK.load(Request(source=path, validation=0.2, limit=30))
    assert sum(map(len, few.parts.values())) == 30


def test_repeats_conflicts_and_leaks_are_found():
    words = [["a", "b"], ["a", "b"], ["a", "b"], ["c"]]
    tags = [["O", "B-X"], ["O", "B-X"], ["O", "O"], ["B-X"]]
    test = ([["c"]], [["O"]])
    findings = TASK.load(
        Request(source=(words, tags), validation=None, test=test)
    ).findings
    assert findings.duplicates.count == 1 and findings.conflicts.count == 3
    assert findings.leaks.count == 1 and findings.leaks.examples[0].row == 3


# === Words to tokens ===


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
@settings(deadline=None, max_examples=60)
@given(
    sentences=st.lists(
        st.lists(
            st.text(st.sampled_from("abcd.\u200b\u4e2d"), min_size=1, max_size=12),
            max_size=25,
        ),
        min_size=1,
        max_size=4,
    ),
    max_length=st.integers(5, 30),
)
def test_every_word_is_in_one_window(kind, sentences, max_length):
    preprocessor = task_cases.build_preprocessor(kind, max_length)
    windows = encode_words(sentences, preprocessor)
    num_words = sum(map(len, sentences))
    words = windows.words[windows.words >= 0]
    assert sorted(words) == list(range(num_words))
    assert windows.encoded.lengths.max() <= max_length
    # The marked token is the first of its word.
    space = " " if kind == "bpe" else ""
    flat = [space + word for words in sentences for word in words]
    ids, offsets = preprocessor.tokenizer.tokenize(flat)
    for token in np.flatnonzero(windows.words >= 0):
        word = windows.words[token]
        first = offsets[word] if offsets[word] < offsets[word + 1] else None
        unknown = preprocessor.tokenizer.unknown_id
        expected = unknown if first is None else ids[first]
        assert windows.encoded.ids[token] == expected


def check_like_the_library(sentences, preprocessor, backend):
    """Compare ids and first tokens with the library's own for words."""
    windows = encode_words(sentences, preprocessor)
    encodings = backend.encode_batch(
        sentences, is_pretokenized=True, add_special_tokens=False
    )
    assert len(windows) == len(sentences)
    total = 0
    for row, encoding in enumerate(encodings):
        start, stop = windows.encoded.offsets[row : row + 2]
        assert windows.encoded.ids[start + 1 : stop - 1].tolist() == encoding.ids
        marks = windows.words[start + 1 : stop - 1] - total
        for place, word in enumerate(encoding.word_ids):
            is_first = place == 0 or encoding.word_ids[place - 1] != word
            assert (marks[place] == word) if is_first else (marks[place] < 0)
        total += len(sentences[row])


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.lists(
            st.text(st.sampled_from("abcd.\u00e9\u4e2d"), min_size=1, max_size=6),
            min_size=1,
            max_size=9,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_tokens_are_those_of_the_library_for_words(kind, sentences):
    backend = task_cases.build_tokenizer(kind, add_prefix_space=True)._backend
    preprocessor = task_cases.build_preprocessor(kind, 512)
    check_like_the_library(sentences, preprocessor, backend)


def test_a_short_sentence_is_what_transformers_makes_of_its_words():
    preprocessor = task_cases.build_preprocessor("wordpiece", 12)
    windows = encode_words([["the", "cats", "sat"], ["b."]], preprocessor)
    tokens = [preprocessor.tokenizer.id_to_token(i) for i in windows.encoded.ids]
    assert tokens == ["[CLS]", "the", "cat", "##s", "sat", "[SEP]"] + [
        "[CLS]", "b", ".", "[SEP]",
    ]  # fmt: skip
    assert windows.words.tolist() == [-1, 0, 1, -1, 2, -1, -1, 3, -1, -1]
    bpe = task_cases.build_preprocessor("bpe", 12)
    tokens = [
        bpe.tokenizer.id_to_token(i)
        for i in encode_words([["ab", "c"]], bpe).encoded.ids
    ]
    assert tokens == ["<s>", "\u0120", "ab", "\u0120", "c", "</s>"]


@given(st.text(max_size=40))
def test_words_of_a_text_hold_all_but_its_white_space(text):
    spans = split_words(text)
    found = [text[start:end] for start, end in spans]
    assert "".join(found) == "".join(text.split())
    assert all(spans[:-1, 1] <= spans[1:, 0])


def test_marks_inside_a_word_stay_in_it():
    text = "Mr. Li-Wu's U.N. talk (3.5 h) 中国!"
    words = [text[start:end] for start, end in split_words(text)]
    assert words == [
        *("Mr", ".", "Li-Wu's", "U.N", ".", "talk"),
        *("(", "3.5", "h", ")", "中", "国", "!"),
    ]


# === Training and predicting ===


@pytest.fixture(scope="module")
def trained():
    splits = TASK.load(Request(source=write_corpus(240), validation=0.2))
    kbert.set_seed(0)
    model = TASK.build(tiny.build_preset(), splits.label_names, precision="float32")
    TASK.compile(model, kbert.adamw(1e-2))
    batches = TASK.feed(model, splits.train, 16, 1)
    held_out = TASK.feed(model, splits.validation, 16, None)
    history = model.fit(batches, validation_data=held_out, epochs=6, verbose=0)
    return model, splits, history.history


def test_a_tiny_tagger_learns_and_the_logs_hold_the_figures(trained):
    model, splits, history = trained
    assert model.task == "tag" and model.label_names == ("O", "B-FILM", "B-PER")
    predictions = TASK.predict(model, splits.validation)
    metrics = TASK.measure(splits.validation, predictions, splits.label_names)
    assert metrics["f1"]["value"] > 0.9
    assert metrics["f1"]["low"] <= metrics["f1"]["value"] <= metrics["f1"]["high"]
    assert history["val_f1"][-1] == pytest.approx(metrics["f1"]["value"], abs=1e-6)
    accuracy = metrics["accuracy"]["value"]
    assert history["val_accuracy"][-1] == pytest.approx(accuracy, abs=1e-6)


def test_texts_and_words_are_tagged_with_their_characters(trained):
    model, *_ = trained
    text = "the great, the awful."
    inputs = [text, ["the", "great"], "", []]
    predictions = TASK.predict(model, inputs)
    assert [len(one.tags) for one in predictions] == [6, 2, 0, 0]
    assert predictions[0].words == ["the", "great", ",", "the", "awful", "."]
    found = TASK.tabulate(model, inputs, predictions)
    assert found["tags"][1] == "O B-PER" and found["entities"][2] == []
    for entity in found["entities"][0]:
        assert text[entity["start"] : entity["end"]] == entity["text"]
        assert 0 < entity["probability"] <= 1
    kinds = {entity["text"]: entity["type"] for entity in found["entities"][0]}
    assert kinds["great"] == "PER" and kinds["awful"] == "FILM"
    assert TASK.predict(model, []) == []


def test_a_saved_tagger_predicts_the_same_and_trains_on(trained, tmp_path):
    model, splits, _ = trained
    model.save(tmp_path / "tagger.keras")
    loaded = kbert.load_model(tmp_path / "tagger.keras")
    assert loaded.task == "tag"
    one, two = (TASK.predict(m, splits.validation) for m in (model, loaded))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first.probabilities, second.probabilities)
    logs = loaded.evaluate(
        TASK.feed(loaded, splits.validation, 8, None), verbose=0, return_dict=True
    )
    assert set(logs) == {"loss", "f1", "accuracy"}


def test_long_sentences_are_tagged_whole(trained):
    model, *_ = trained
    words = write_corpus(40, seed=5)[0]
    joined = [word for sentence in words for word in sentence]
    assert len(joined) > 3 * model.preprocessor.max_length
    (tagged,) = TASK.predict(model, [joined])
    assert tagged.words == joined
    expected = [
        "B-PER" if word in tiny.PLEASANT else
        "B-FILM" if word in tiny.UNPLEASANT else "O"
        for word in joined
    ]  # fmt: skip
    assert np.mean([a == b for a, b in zip(tagged.tags, expected, strict=True)]) > 0.8


def test_padding_and_later_sub_words_count_neither_in_loss_nor_in_figures(trained):
    model, splits, _ = trained
    batches = TASK.feed(model, splits.validation[:6], 6, 1)
    arrays, labels, weights = batches[0]
    assert weights.sum() == sum(map(len, splits.validation[:6].words))
    expected = model.evaluate(batches, verbose=0, return_dict=True)
    wide = {name: np.pad(one, ((0, 0), (0, 7))) for name, one in arrays.items()}
    model.reset_metrics()
    found = model.test_on_batch(
        wide,
        np.pad(labels, ((0, 0), (0, 7)), constant_values=1),
        np.pad(weights, ((0, 0), (0, 7))),
        return_dict=True,
    )
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_loss_is_the_mean_over_the_words(trained):
    model, splits, _ = trained
    part = splits.validation[:5]
    batches = TASK.feed(model, part, 5, None)
    loss = model.evaluate(batches, verbose=0, return_dict=True)["loss"]
    arrays, labels, weights = batches[0]
    probabilities = model.predict_on_batch(arrays)
    chosen = np.take_along_axis(probabilities, labels[..., None], -1)[..., 0]
    assert loss == pytest.approx(-np.log(chosen[weights > 0]).mean(), rel=1e-4)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_the_metric_counts_what_the_evaluation_counts(data):
    batch, length = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 9)))
    generator = np.random.default_rng(data.draw(st.integers(0, 999)))
    labels, found = generator.integers(0, 5, (2, batch, length))
    weights = generator.integers(0, 2, (batch, length)).astype("float32")
    weights[0, 0] = 1
    rules = build_tag_rules(TAGS)
    metric = EntityF1(rules.type_ids, rules.starts, rules.ends)
    metric.update_state(labels, np.eye(5, dtype="float32")[found], weights)
    kept = weights > 0
    offsets = np.cumsum([0, *kept.sum(1)])
    expected = measure_entities(
        labels[kept], found[kept], offsets, TAGS, num_bootstrap=0
    )
    assert float(metric.result()) == pytest.approx(expected["f1"]["value"], abs=1e-6)
    accuracy = WordAccuracy()
    accuracy.update_state(labels, np.eye(5, dtype="float32")[found], weights)
    right = expected["accuracy"]["value"]
    assert float(accuracy.result()) == pytest.approx(right, abs=1e-6)


def test_bad_inputs_and_options_are_one_sentence(trained):
    model, splits, _ = trained
    with pytest.raises(ValueError, match="input 1 must be a text or a list of words"):
        TASK.predict(model, ["a", 3])
    with pytest.raises(ValueError, match="the task tag has no option 'pooling'"):
        TASK.build(tiny.build_preset(), splits.label_names, pooling="cls")
    with pytest.raises(ValueError, match="max_length must be at most 24"):
        TASK.build(tiny.build_preset(), splits.label_names, max_length=99)
    with pytest.raises(ValueError, match="max_length must be at least 8 tokens"):
        TASK.build(tiny.build_preset(), splits.label_names, max_length=7)


def test_a_tagged_text_knows_its_entities():
    tagged = TaggedText(
        "the good film",
        np.array([[0, 3], [4, 8], [9, 13]]),
        np.array([0, 3, 4]),
        np.array([0.9, 0.5, 0.75], "float32"),
        TAGS,
    )
    (entity,) = tagged.entities
    assert (entity.text, entity.type, entity.probability) == ("good film", "FILM", 0.5)
    assert (entity.start, entity.end) == (4, 13)


# === Beside transformers ===


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "distil_bert", "roberta"])
def test_logits_and_loss_are_transformers_own(tmp_path, family):
    import torch

    theirs, preset = task_cases.write_transformers(
        tmp_path, family, "TokenClassification"
    )
    model = TASK.build(preset, TAGS, max_length=20, precision="float32")
    task_cases.copy_head(model.get_layer("probabilities"), theirs.classifier)
    TASK.compile(model, kbert.adamw(1e-3))
    words = [["the", "cats", "b."], ["a"], ["c", "d", "cc", "ab", "the"]]
    part = TASK.load(
        Request(
            source=(words, [["O", "B-PER", "I-PER"], ["B-FILM"], ["O"] * 5]),
            validation=None,
            label_names=TAGS,
        )
    ).train
    batches = TASK.feed(model, part, 3, None)
    arrays, labels, weights = batches[0]
    targets = torch.tensor(np.where(weights > 0, labels, -100)).long()
    with torch.no_grad():
        expected = theirs(**task_cases.rename(arrays), labels=targets)
        ours = model({k: torch.tensor(v) for k, v in arrays.items()})._keras_logits
    real = torch.tensor(arrays["padding_mask"]) > 0
    torch.testing.assert_close(ours[real], expected.logits[real], atol=1e-4, rtol=0)
    loss = model.evaluate(batches, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(float(expected.loss), abs=1e-4)


@pytest.mark.slow
def test_conll_2003s_tokens_are_those_of_the_library(shared_data):
    words = read_sentences(shared_data("ner") / "test.txt")[0].words
    tokenizer = kbert.load_preset("all_minilm_l6_v2_en").tokenizer
    preprocessor = kbert.Preprocessor(tokenizer, max_length=512)
    check_like_the_library(words, preprocessor, tokenizer._backend)


@pytest.mark.slow
def test_conll_2003_is_read_as_counted(shared_data):
    splits = TASK.load(Request(source=shared_data("ner")))
    assert [len(part) for part in splits.parts.values()] == [14041, 3250, 3453]
    labels = np.concatenate(splits.test.labels)
    counts = {
        name: int((labels == k).sum()) for k, name in enumerate(splits.label_names)
    }
    assert (counts["B-LOC"], counts["B-PER"]) == (1668, 1617)
    same = measure_entities(
        labels, labels, splits.test.offsets, splits.label_names, num_bootstrap=0
    )
    assert same["f1"]["value"] == 1.0
    assert sum(row["num_entities"] for row in same["per_type"]) == 5648
