"""Texts over the longest length: cut, kept by both ends, or read in windows."""

import itertools
import json
import subprocess
import sys
import time
import zipfile

import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings

import kbert
from kbert.batches import SortedBatches
from kbert.engine.windows import SplitWindows, WindowPooling
from kbert.long_texts import LONG_TEXTS, Windows, choose_head_tail
from kbert.rows import TextRows
from kbert.text import Encoded, Preprocessor

TOKENIZER = tiny.build_preset().tokenizer
START, END, PAD = TOKENIZER.start_id, TOKENIZER.end_id, TOKENIZER.pad_id
WINDOWS = {"long_text": "windows", "max_length": 8, "window_overlap": 2}
WORDS = [word for word in tiny.VOCABULARY[5:] if not word.startswith("##")]
ODD = ("nul\x00 in a film", "lone \ud800 good", "\u202egood\u202c \u200f film", " ", "")


def write_words(num_words: int, seed: int = 0) -> str:
    """Return a text of so many tokens."""
    return " ".join(np.random.default_rng(seed).choice(WORDS, num_words))


def write_long_texts(num_texts: int = 12) -> tuple[list[str], np.ndarray]:
    """Return texts of 1 to 40 tokens, in no order of length."""
    sizes = np.random.default_rng(1).integers(1, 41, num_texts)
    texts = [write_words(size, seed) for seed, size in enumerate(sizes)]
    return texts, np.arange(num_texts).astype("int32") % 2


def build_pair(**changes):
    """Return a model in windows and one without, of the same weights."""
    in_windows = tiny.build_model(**(WINDOWS | changes))
    for name in ("long_text", "window_overlap", "window_pooling", "max_windows"):
        changes.pop(name, None)
    plain = tiny.build_model(**({"max_length": WINDOWS["max_length"]} | changes))
    tiny.assert_same_weights(in_windows, plain)
    return in_windows, plain


def encode_windows(text: str, preprocessor: Preprocessor) -> list[Encoded]:
    """Return the windows of a text, each as a row, cut by plain slices."""
    windows = preprocessor.windows
    ids = preprocessor.tokenizer.tokenize([text])[0].tolist()
    room = windows.length - 2
    ids = ids[: room + (windows.most - 1) * windows.stride]
    starts = [0]
    while starts[-1] + room < len(ids):
        starts.append(min(starts[-1] + windows.stride, len(ids) - room))
    rows = []
    for start in starts:
        row = np.array([START, *ids[start : start + room], END], np.int32)
        length = np.array([len(row)], np.int32)
        names = preprocessor.input_names
        rows.append(Encoded(row, np.array([0, len(row)]), length, length, PAD, names))
    return rows


def compute_logits(plain, text: str, preprocessor: Preprocessor) -> torch.Tensor:
    """Return the logits (num_windows, num_classes) of a text's windows, one by one."""
    return torch.cat(
        [plain(row.pad())._keras_logits for row in encode_windows(text, preprocessor)]
    )


def pool(logits: torch.Tensor, mode: str) -> torch.Tensor:
    return logits.amax(0) if mode == "max" else logits.mean(0)


# === Where windows lie ===


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_windows_cover_every_token_that_is_kept_and_overlap_as_asked(data):
    length = data.draw(st.integers(3, 12))
    overlap = data.draw(st.integers(0, length - 3))
    windows = Windows(length, overlap, data.draw(st.integers(1, 5)))
    lengths = np.array(data.draw(st.lists(st.integers(2, windows.coverage))), np.int32)
    counts = windows.count(lengths)
    starts = np.split(windows.find_starts(lengths), np.cumsum(counts)[:-1])
    for row, own in zip(lengths, starts if len(lengths) else (), strict=True):
        # Of its own text a window holds all but the two tokens around it.
        covered = {s + i for s in own for i in range(1, min(row, length) - 1)}
        assert covered == set(range(1, row - 1))
        assert len(own) <= windows.most
        assert all(
            0 < later - one <= windows.stride for one, later in itertools.pairwise(own)
        )
        assert own[-1] + min(row, length) == row


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    overlap=st.integers(0, 5),
    most=st.integers(1, 6),
)
def test_padded_windows_are_the_slices_of_each_text(sizes, overlap, most):
    preprocessor = Preprocessor(
        TOKENIZER, **(WINDOWS | {"window_overlap": overlap}), max_windows=most
    )
    texts = [write_words(size, seed) for seed, size in enumerate(sizes)]
    encoded = preprocessor.encode(texts)
    arrays = encoded.pad(8)
    wanted = [encode_windows(text, preprocessor) for text in texts]
    shape = (len(texts), max(map(len, wanted)), 8)
    assert {values.shape for values in arrays.values()} == {shape}
    for row, own in enumerate(wanted):
        for name, values in Encoded.concatenate(own).pad(8).items():
            np.testing.assert_array_equal(arrays[name][row, : len(own)], values)
        empty = {"token_ids": PAD, "segment_ids": 0, "padding_mask": 0}
        for name, value in empty.items():
            assert (arrays[name][row, len(own) :] == value).all()
    dropped = [max(0, size - preprocessor.windows.coverage + 2) for size in sizes]
    assert encoded.truncation.num_tokens_dropped == sum(dropped)
    assert encoded.truncation.num_truncated == np.count_nonzero(dropped)


def test_rows_in_windows_can_be_chosen_and_joined_before_they_are_padded():
    preprocessor = Preprocessor(TOKENIZER, **WINDOWS)
    texts, _ = write_long_texts(5)
    whole = preprocessor.encode(texts)
    joined = Encoded.concatenate([whole[np.array([3, 1])], whole[4:]])
    other = preprocessor.encode([texts[3], texts[1], texts[4]])
    for name, values in other.pad().items():
        np.testing.assert_array_equal(joined.pad()[name], values)
    with pytest.raises(ValueError, match="all from the same preprocessor"):
        Encoded.concatenate(
            [whole, Preprocessor(TOKENIZER, max_length=8).encode(["a"])]
        )


def test_truncation_counts_what_windows_and_head_tail_keep():
    texts = [write_words(size) for size in (4, 12, 30)]
    windows = Preprocessor(TOKENIZER, **WINDOWS, max_windows=3).encode(texts)
    # Three windows of 6 tokens that share 2: 14 of a text.
    assert windows.truncation.summary().startswith(
        "1 of 3 texts (33.3%) were cut to 16 tokens and lost 16 in all"
    )
    both = Preprocessor(TOKENIZER, max_length=8, long_text="head-tail").encode(texts)
    assert both.truncation.summary().startswith(
        "2 of 3 texts (66.7%) were cut to 8 tokens and lost 30 in all"
    )


# === Head and tail ===


def test_of_510_tokens_128_are_from_the_beginning_and_382_from_the_end():
    chosen = choose_head_tail(np.array([7]), np.array([1000]), np.array([510]))
    assert chosen.tolist() == [*range(7, 7 + 128), *range(1007 - 382, 1007)]


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_head_and_tail_stay_of_every_text_and_short_ones_are_whole(sizes):
    texts = [write_words(size, seed) for seed, size in enumerate(sizes)]
    encoded = Preprocessor(TOKENIZER, max_length=12, long_text="head-tail").encode(
        texts
    )
    for row, text in enumerate(texts):
        ids = TOKENIZER.tokenize([text])[0].tolist()
        if len(ids) > 10:
            ids = ids[:3] + ids[-7:]
        start, stop = encoded.offsets[row : row + 2]
        assert encoded.ids[start:stop].tolist() == [START, *ids, END]


def test_each_text_of_a_pair_keeps_its_own_head_and_tail():
    first, second = write_words(20, 1), write_words(20, 2)
    encoded = Preprocessor(TOKENIZER, max_length=11, long_text="head-tail").encode(
        [first], [second]
    )
    one, other = (TOKENIZER.tokenize([text])[0].tolist() for text in (first, second))
    kept = [START, one[0], *one[-3:], END, one[0], *other[-3:], END]
    kept[6] = other[0]
    assert encoded.ids.tolist() == kept
    assert encoded.second_starts.tolist() == [6]


# === The model in windows ===


def test_short_texts_train_and_predict_exactly_as_without_windows():
    in_windows, plain = build_pair(max_length=24)
    texts, labels = tiny.write_texts(24)
    assert in_windows.preprocessor(texts)["token_ids"].shape == (24, 1, 24)
    np.testing.assert_array_equal(in_windows.predict(texts), plain.predict(texts))
    for model in (in_windows, plain):
        kbert.set_seed(3)
        model.fit(texts, labels, epochs=2, batch_size=8, verbose=0)
    tiny.assert_same_weights(in_windows, plain)
    np.testing.assert_array_equal(in_windows.predict(texts), plain.predict(texts))


@pytest.mark.parametrize("mode", ["mean", "max"])
def test_predictions_are_pooled_logits_of_each_window_in_the_callers_order(mode):
    in_windows, plain = build_pair(window_pooling=mode)
    texts, _ = write_long_texts()
    shown = in_windows.predict(texts, batch_size=4)
    for text, row in zip(texts, shown, strict=True):
        logits = compute_logits(plain, text, in_windows.preprocessor)
        wanted = torch.softmax(pool(logits, mode), -1).detach().numpy()
        np.testing.assert_allclose(row, wanted, atol=1e-6)
    assert len(compute_logits(plain, texts[0], in_windows.preprocessor)) > 1
    np.testing.assert_array_equal(in_windows.predict(iter(texts), batch_size=4), shown)


@pytest.mark.parametrize("mode", ["mean", "max"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_gradients_are_those_of_one_loss_a_text(mode, family):
    in_windows, plain = build_pair(family=family, window_pooling=mode, dropout=0.0)
    texts, labels = write_long_texts(5)
    arrays = in_windows.preprocessor.encode(texts).pad()
    loss, _, gradients = in_windows._differentiate((arrays, labels, None))
    logits = torch.stack(
        [
            pool(compute_logits(plain, text, in_windows.preprocessor), mode)
            for text in texts
        ]
    )
    targets = torch.tensor(labels, dtype=torch.int64)
    wanted = torch.nn.functional.cross_entropy(logits, targets)
    assert float(loss) == pytest.approx(float(wanted.detach()), abs=1e-6)
    values = [variable.value for variable in plain.trainable_variables]
    theirs = torch.autograd.grad(wanted, values, allow_unused=True)
    pairs = [
        (one.to_dense().numpy(), other.numpy())
        for one, other in zip(gradients, theirs, strict=True)
        if other is not None
    ]
    assert max(abs(other).max() for _, other in pairs) > 1e-3
    for one, other in pairs:
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_the_order_of_windows_does_not_matter():
    for mode in ("mean", "max"):
        model = tiny.build_model(**WINDOWS, window_pooling=mode)
        arrays = model.preprocessor.encode(write_long_texts()[0]).pad()
        shuffled = {name: values[:, ::-1].copy() for name, values in arrays.items()}
        one, other = (
            keras.ops.convert_to_numpy(model(inputs)) for inputs in (arrays, shuffled)
        )
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_evaluation_counts_each_text_once_with_its_weight():
    model = tiny.build_model(**WINDOWS)
    texts, labels = write_long_texts()
    weights = np.linspace(0.5, 2, len(texts)).astype("float32")
    losses = -np.log(model.predict(texts)[np.arange(len(texts)), labels])
    for own, wanted in ((None, losses), (weights, losses * weights)):
        found = model.evaluate(
            texts, labels, sample_weight=own, batch_size=12, verbose=0
        )
        assert found[0] == pytest.approx(wanted.mean(), abs=1e-5)
    right = (model.predict(texts).argmax(1) == labels).mean()
    assert model.evaluate(texts, labels, verbose=0)[1] == pytest.approx(right)


def test_class_weights_are_weights_of_texts():
    texts, labels = write_long_texts()
    labels[:4] = 0
    kinds = [{"class_weight": {0: 0.5, 1: 3.0}}]
    kinds += [{"sample_weight": np.where(labels == 1, 3.0, 0.5)}]
    models = []
    for kind in kinds:
        models.append(tiny.build_model(**WINDOWS))
        kbert.set_seed(1)
        models[-1].fit(texts, labels, batch_size=4, epochs=2, verbose=0, **kind)
    tiny.assert_same_weights(*models)


@pytest.mark.slow
def test_training_learns_what_only_the_end_of_a_text_tells():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 48).astype("int32")
    texts = [
        write_words(14, seed).replace("good", "a").replace("bad", "a")
        + (" bad", " good")[label] * 2
        for seed, label in enumerate(labels)
    ]
    model = tiny.build_model(**WINDOWS, optimizer=kbert.adamw(1e-2), dropout=0.0)
    history = model.fit(texts, labels, batch_size=16, epochs=12, verbose=0)
    assert history.history["accuracy"][-1] > 0.9
    assert model.evaluate(texts, labels, verbose=0)[1] > 0.9


def test_batches_of_a_loader_are_read_in_windows():
    model, other = (tiny.build_model(**WINDOWS, dropout=0.0) for _ in range(2))
    texts, labels = write_long_texts()
    rows = list(zip(texts, labels, strict=True))
    loader = torch.utils.data.DataLoader(rows, batch_size=4)
    for one, fed in ((model, {"x": loader}), (other, {"x": texts, "y": labels})):
        kbert.set_seed(2)
        one.fit(**fed, batch_size=4, shuffle=False, verbose=0)
    assert tiny.largest_difference(*map(tiny.read_weights, (model, other))) < 1e-6
    np.testing.assert_allclose(model.predict(loader), model.predict(texts), atol=1e-6)


def test_a_batch_that_is_split_for_memory_is_split_between_texts():
    texts, labels = write_long_texts(8)
    models = [tiny.build_model(**WINDOWS, dropout=0.0) for _ in range(2)]
    batch = (models[0].preprocessor.encode(texts).pad(), labels, None)
    models[1]._recovery.num_parts = 3
    (loss, shown, _), (theirs, parts, _) = (
        model._differentiate_in_memory(*batch) for model in models
    )
    assert float(loss) == pytest.approx(float(theirs), abs=1e-6)
    torch.testing.assert_close(shown.detach(), parts, atol=1e-6, rtol=0)


def test_a_frozen_encoder_trains_its_head_in_windows():
    model = tiny.build_model(**WINDOWS, compile=False)
    kbert.freeze(model)
    model.compile(kbert.adamw(1e-2), "sparse_categorical_crossentropy")
    texts, labels = write_long_texts()
    before = tiny.read_weights(model)
    model.fit(texts, labels, verbose=0)
    after = tiny.read_weights(model)
    changed = [bool(abs(a - b).max()) for a, b in zip(before, after, strict=True)]
    assert changed == [False] * (len(before) - 2) + [True, True]
    loaded = model.predict(texts)
    assert np.abs(loaded - model.predict(texts, batch_size=1)).max() < 1e-6


def test_int8_predicts_in_windows():
    model = tiny.build_model(**WINDOWS)
    texts, labels = write_long_texts()
    try:
        rounded = model.predict(texts, quantize="int8")
    except RuntimeError as error:
        pytest.skip(str(error))
    assert np.abs(rounded - model.predict(texts)).max() < 0.05
    assert len(model.evaluate(texts, labels, verbose=0, quantize="int8")) == 2


def test_a_batch_to_predict_holds_no_more_tokens_than_texts_that_were_cut():
    preprocessor = Preprocessor(TOKENIZER, **WINDOWS, max_windows=50)
    texts = [write_words(size, size) for size in [200] * 6 + [90] * 6 + [3] * 100]
    batches = SortedBatches(TextRows(texts), preprocessor, batch_size=4)
    rows = [rows for rows, _ in batches.with_rows()]
    assert sorted(np.concatenate(rows)) == list(range(len(texts)))
    lengths = [batches.encoded.lengths[one] for one in rows]
    assert all(len(one) == 1 or one.sum() <= 4 * 8 for one in lengths)
    assert max(map(len, lengths)) > 4  # short ones fill up


def test_the_host_keeps_its_copy_of_what_it_sent():
    mask = torch.tensor([[[1, 1], [0, 0]], [[1, 0], [1, 1]]])
    mask._kbert_host = mask.clone()
    split = SplitWindows()({"padding_mask": mask})["padding_mask"]
    assert split.tolist() == [[1, 1], [1, 0], [1, 1]]
    assert split._kbert_host.tolist() == split.tolist()


# === Files ===


@pytest.mark.parametrize("long_text", LONG_TEXTS)
def test_a_saved_model_reads_long_texts_as_before(long_text, tmp_path):
    own = {"window_overlap": 3, "max_windows": 4, "window_pooling": "max"}
    changes = own if long_text == "windows" else {}
    model = tiny.build_model(max_length=8, long_text=long_text, **changes)
    model.save(tmp_path / "model.keras")
    loaded = kbert.load_model(tmp_path / "model.keras")
    assert loaded.preprocessor.get_config() == model.preprocessor.get_config()
    assert loaded.preprocessor.long_text == long_text
    texts, labels = write_long_texts()
    np.testing.assert_array_equal(loaded.predict(texts), model.predict(texts))
    for one in (model, loaded):
        kbert.set_seed(0)
        one.fit(texts, labels, verbose=0)
    tiny.assert_same_weights(model, loaded)


def test_a_file_from_before_there_were_windows_still_loads(tmp_path):
    model = tiny.build_model(max_length=8)
    model.save(tmp_path / "new.keras")
    with (
        zipfile.ZipFile(tmp_path / "new.keras") as new,
        zipfile.ZipFile(tmp_path / "old.keras", "w") as old,
    ):
        for name in new.namelist():
            content = new.read(name)
            if name == "config.json":
                config = json.loads(content)
                own = config["config"]["kbert"]["preprocessor"]
                for setting in ("long_text", "window_overlap", "max_windows"):
                    del own[setting]
                content = json.dumps(config).encode()
            old.writestr(name, content)
    loaded = kbert.load_model(tmp_path / "old.keras")
    texts, _ = write_long_texts()
    np.testing.assert_array_equal(loaded.predict(texts), model.predict(texts))


# === Bad input, and odd texts ===


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"long_text": "slide"}, "long_text must be one of .*received 'slide'"),
        ({"window_overlap": 6}, r"window_overlap must be .* in \[0, 6\).*received 6"),
        ({"window_overlap": 1.5}, "window_overlap must be a whole number"),
        ({"max_windows": 0}, "max_windows must be .* at least 1; received 0"),
        ({"max_length": 2}, "windows need a max_length of at least 3"),
        ({"long_text": "truncate"}, "are for long_text='windows'"),
        ({"window_pooling": "median"}, "'mean' or 'max'; received 'median'"),
        (
            {"long_text": "head-tail", "window_overlap": None, "window_pooling": "max"},
            "window_pooling is for long_text='windows'",
        ),
        ({"head": keras.layers.Dense(2)}, "a head of your own does not show"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        tiny.build_model(**(WINDOWS | changes))


def test_pairs_in_windows_are_refused_in_a_sentence():
    model = tiny.build_model(**WINDOWS)
    with pytest.raises(ValueError, match="long_text='windows' is for single texts"):
        model.predict([("a film", "a plot")])
    with pytest.raises(ValueError, match="long_text='windows' is for single texts"):
        model.fit([("a film", "a plot")] * 4, [0, 1, 0, 1], verbose=0)


def test_a_text_of_which_no_window_holds_a_token_is_refused():
    model = tiny.build_model(**WINDOWS)
    arrays = model.preprocessor(["a film", "a plot"])
    arrays["padding_mask"][1] = 0
    with pytest.raises(ValueError, match="that of text 1 of the batch is all zeros"):
        model(arrays)


def test_pooling_has_a_mode_that_comes_back_from_its_config():
    layer = WindowPooling.from_config(WindowPooling("max").get_config())
    assert layer.mode == "max"


@pytest.mark.parametrize("long_text", LONG_TEXTS)
def test_odd_texts_are_read_like_any_other(long_text):
    model = tiny.build_model(max_length=8, long_text=long_text)
    texts = [*ODD, *(text * 30 for text in ODD), "a film"]
    alone = [model.predict([text])[0] for text in texts]
    np.testing.assert_allclose(model.predict(texts), alone, atol=1e-6)
    assert np.isfinite(alone).all()
    labels = np.arange(len(texts)) % 2
    model.fit(texts, labels, verbose=0)
    assert np.isfinite(model.evaluate(texts, labels, verbose=0)).all()


MILLION = """
import resource, sys, time
from kbert.text import Preprocessor, Tokenizer
words = "[PAD] [UNK] [CLS] [SEP] good film".split()
tokenizer = Tokenizer.from_wordpiece_vocabulary(words)
ways = [Preprocessor(tokenizer, max_length=256, long_text=one)
        for one in ("truncate", "head-tail", "windows")]
for way in ways:
    way(["good film"])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
text = {text}
assert len(text) == 1_000_000
for way in ways:
    arrays = way([text, "good film"])["token_ids"]
    assert arrays.size <= 2 * 8 * 256
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((peak - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["'film ' * 200_000", "'x' * 1_000_000", "'\\ud800\\u202e \\x00x' * 200_000"],
    ids=["words", "one word", "odd characters"],
)
def test_a_million_characters_take_bounded_time_and_memory(text):
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MILLION.replace("{text}", text)],
        cwd=tiny.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 300, f"{done.stdout} MB"
    assert time.perf_counter() - started < 30


def test_a_text_of_a_million_characters_is_classified_in_so_many_windows():
    model = tiny.build_model(**WINDOWS, max_windows=8)
    text = "a great film " * 77_000
    seen = []
    call = SplitWindows.call

    def watch(self, inputs):
        found = call(self, inputs)
        seen.append(tuple(found["token_ids"].shape))
        return found

    SplitWindows.call = watch
    try:
        model.fit([text, "a film"], np.array([1, 0]), verbose=0)
        assert model.predict([text]).shape == (1, 2)
    finally:
        SplitWindows.call = call
    assert (9, 8) in seen and (8, 8) in seen
