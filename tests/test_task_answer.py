"""Questions and answers: files read, windows, training, figures and predictions."""

import json

import numpy as np
import pytest
import task_cases
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

import kbert
from kbert.tasks import Request
from kbert.tasks.answer import TASK, Answer
from kbert.tasks.answer_data import Gold, read_questions
from kbert.tasks.passages import encode_passages, find_best_spans
from kbert.token_spans import find_token_spans

CONTEXT = "the film was good. the plot was dull"


def build_squad(num_articles=2, **question):
    """Return SQuAD's JSON: two questions an article, the second with two answers."""
    first = {"id": "a", "question": "what was good", "answers": []}
    first["answers"] = [{"text": "film", "answer_start": 4}]
    second = {"id": "b", "question": "what was dull"}
    second["answers"] = [
        {"text": "plot", "answer_start": 23},
        {"text": "the plot", "answer_start": 19},
    ]
    articles = [
        {
            "title": f"article {number}",
            "paragraphs": [{"context": CONTEXT, "qas": [first | question, second]}],
        }
        for number in range(num_articles)
    ]
    return {"version": "1.1", "data": articles}


def write(folder, name, content):
    path = folder / name
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


# === Reading ===


def test_a_squad_file_is_read_question_by_question(tmp_path):
    path = write(tmp_path, "dev.json", build_squad())
    questions, words, digest = read_questions(path)
    assert questions.texts == ["what was good", "what was dull"] * 2
    assert questions.text_pairs == [CONTEXT] * 4
    assert questions.answers[1] == [Gold("plot", 23), Gold("the plot", 19)]
    assert questions.labels[0] == ["film"] and questions.ids == ["a", "b"] * 2
    assert questions.groups.tolist() == [0, 0, 1, 1]
    assert words == f"SQuAD file {path}" and len(digest) == 64
    assert not questions.has_unanswerable


def test_version_2s_questions_without_an_answer_have_none(tmp_path):
    squad = build_squad(
        1,
        is_impossible=True,
        answers=[],
        plausible_answers=[{"text": "plot", "answer_start": 23}],
    )
    questions = read_questions(write(tmp_path, "dev.json", squad))[0]
    assert questions.labels == [[], ["plot", "the plot"]]
    assert questions.has_unanswerable


def test_tables_and_json_lines_are_read_with_or_without_starts(tmp_path):
    table = f'question,context,answer\nq1,"{CONTEXT}",plot\nq2,"{CONTEXT}",\n'
    questions = read_questions(write(tmp_path, "a.csv", table))[0]
    assert questions.answers == [[Gold("plot", 23)], []]
    assert questions.groups.tolist() == [0, 0]
    rows = [{"question": "q", "context": CONTEXT, "id": 7, "title": "t"}]
    rows[0]["answers"] = {"text": ["the"], "answer_start": [19]}
    questions = read_questions(write(tmp_path, "a.jsonl", json.dumps(rows[0])))[0]
    assert questions.answers == [[Gold("the", 19)]] and questions.ids == ["7"]
    flat = {"q": "q", "c": CONTEXT, "a": "the", "answer_start": 19}
    path = write(tmp_path, "b.jsonl", json.dumps(flat))
    questions = read_questions(path, text="q", text_pair="c", label="a")[0]
    assert questions.answers == [[Gold("the", 19)]]
    without = read_questions(path, text="q", text_pair="c")[0]
    assert without.answers is None


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "a.csv",
            "question,context,answer\nq,b c,d\n",
            "a.csv row 0: the answer 'd' does",
        ),
        (
            "a.csv",
            "question,context,answer\nq,,d\n",
            "a.csv row 0 has no text 'context'",
        ),
        ("a.csv", "question,text\nq,b\n", "has no column 'context'"),
        ("a.csv", "question,context\nq,b\n", "has no answers; name their column"),
        (
            "a.csv",
            "question,context,answer,answer_start\nq,b c,c,0\n",
            "'c' is not at character 0 of its text, but 'b'",
        ),
        ("a.jsonl", "{", "line 1 is not JSON"),
        ("a.jsonl", "3", "line 1 is no JSON object"),
        ("a.json", {"data": [{"title": "t"}]}, "article 0 has no list 'paragraphs'"),
        (
            "a.json",
            {"data": [{"paragraphs": [{"context": 3, "qas": []}]}]},
            "article 0, paragraph 0 has no text 'context'",
        ),
        (
            "a.json",
            build_squad(1, answers=[3]),
            "question 'a': an answer must be a text",
        ),
        (
            "a.json",
            build_squad(1, answers=[{"text": "film", "answer_start": "4"}]),
            "start must be a whole number",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_one_sentence(tmp_path, name, content, sentence):
    path = write(tmp_path, name, content)
    with pytest.raises(ValueError, match=sentence):
        TASK.load(Request(source=path, validation=None))


def test_a_share_is_cut_by_article(tmp_path):
    path = write(tmp_path, "all.json", build_squad(40))
    splits = TASK.load(Request(source=path, validation=0.2, test=0.25, seed=1))
    sizes = {name: len(part) for name, part in splits.parts.items()}
    assert sizes == {"train": 44, "validation": 16, "test": 20}
    groups = [set(part.groups) for part in splits.parts.values()]
    assert len(set.union(*groups)) == sum(map(len, groups)) == 40
    assert splits.label_names == () and splits.findings.leaks.count > 0


def test_a_share_that_is_none_or_all_is_one_sentence(tmp_path):
    path = write(tmp_path, "all.json", build_squad(1))
    for shares in ((1.5, None), (0.5, 0.5)):
        with pytest.raises(ValueError, match="share"):
            TASK.load(Request(source=path, validation=shares[0], test=shares[1]))
    with pytest.raises(ValueError, match="2 rows of 2 documents leave none"):
        TASK.load(Request(source=path, validation=0.1))


# === Windows ===

LETTERS = st.text(st.sampled_from("abcd .?\u00e9"), min_size=1, max_size=60)


@st.composite
def rows(draw):
    """Draw questions, contexts and in each context the characters of an answer."""
    contexts = draw(st.lists(LETTERS, min_size=1, max_size=3))
    starts = [draw(st.integers(0, len(one) - 1)) for one in contexts]
    ends = [
        draw(st.integers(start + 1, len(one)))
        for start, one in zip(starts, contexts, strict=True)
    ]
    questions = [draw(st.text(st.sampled_from("abc "), max_size=30)) for _ in contexts]
    return questions, contexts, starts, ends


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
@settings(deadline=None, max_examples=60)
@given(drawn=rows(), max_length=st.integers(9, 40))
def test_windows_hold_every_token_and_answers_map_back(kind, drawn, max_length):
    questions, contexts, starts, ends = drawn
    preprocessor = task_cases.build_preprocessor(kind, max_length)
    windows = encode_passages(questions, contexts, preprocessor)
    golds = [
        [Gold(text[a:b], a)] for text, a, b in zip(contexts, starts, ends, strict=True)
    ]
    windows = windows.with_answers(golds, contexts)
    assert windows.encoded.lengths.max() <= max_length
    for row, context in enumerate(contexts):
        chosen = np.flatnonzero(windows.questions == row)
        own, _, spans = find_token_spans(preprocessor.tokenizer, [context])
        seen = set()
        for window in chosen:
            first, length = windows.firsts[window], windows.lengths[window]
            seen |= set(range(first, first + length))
            column = windows.encoded.offsets[window] + windows.columns[window]
            ids = windows.encoded.ids[column : column + length]
            np.testing.assert_array_equal(ids, own[first : first + length])
            columns = windows.answers[window]
            if columns[0]:
                tokens = (columns - windows.columns[window] + first)[None]
                (found,) = windows.find_characters(np.array([row]), tokens)
                answer = context[starts[row] : ends[row]].strip()
                assert answer in context[found[0] : found[1]]
                # No token of the span lies outside of the answer.
                inner = spans[tokens[0, 0] : tokens[0, 1] + 1]
                assert inner[0, 1] > starts[row] and inner[-1, 0] < ends[row]
        assert seen == set(range(len(own)))


@settings(deadline=None, max_examples=60)
@given(text=st.text(st.sampled_from("ab \t\u00e9\u4e2d\ud800"), max_size=30))
def test_spans_of_tokens_spell_the_text(text):
    for kind in ("wordpiece", "bpe"):
        tokenizer = task_cases.build_tokenizer(kind)
        ids, offsets, spans = find_token_spans(tokenizer, ["ab", text])
        assert offsets[-1] == len(ids) == len(spans)
        own = spans[offsets[1] :]
        assert (own[:, 0] <= own[:, 1]).all() and (np.diff(own, axis=0) >= 0).all()
        covered = {place for start, end in own for place in range(start, end)}
        assert not any(text[place].isspace() for place in covered if kind == "bpe")
        letters = {place for place, one in enumerate(text) if one in "ab"}
        assert letters <= covered


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 9999), st.integers(0, 8), st.integers(1, 3))
def test_the_best_span_is_the_best_of_all_legal_ones(seed, length, column):
    generator = np.random.default_rng(seed)
    start, end = generator.random((2, 1, length + column + 2))
    best, spans = find_best_spans(start, end, np.array([column]), np.array([length]))
    legal = {
        (first, last): start[0, column + first] * end[0, column + last]
        for first in range(length)
        for last in range(first, length)
    }
    if legal:
        assert best[0] == pytest.approx(max(legal.values()))
        assert legal[tuple(spans[0].tolist())] == pytest.approx(best[0])
    else:
        assert best[0] == 0


def test_an_answer_has_at_most_30_tokens():
    start, end = np.full((2, 1, 50), 0.01)
    start[0, 3], end[0, 40], end[0, 20] = 0.9, 0.9, 0.5
    _, spans = find_best_spans(start, end, np.array([0]), np.array([50]))
    assert spans.tolist() == [[3, 20]]


# === Training and predicting ===


def build_questions(num_rows, seed=0, unanswerable=False):
    """Return rows whose answer is the one word of its kind in the text."""
    generator = np.random.default_rng(seed)
    questions, contexts, answers = [], [], []
    for row in range(num_rows):
        words = generator.choice(["the", "a", "film", "is", "was", "plot"], 6).tolist()
        word = str(generator.choice(tiny.PLEASANT))
        if not unanswerable or row % 2:
            words[generator.integers(6)] = word
        questions.append("good ?")
        contexts.append(" ".join(words))
        answers.append(word if word in words else None)
    return {"question": questions, "context": contexts, "answer": answers}


def load(columns, **request):
    import pandas as pd

    return TASK.load(Request(source=pd.DataFrame(columns), **request))


def train(splits, epochs=4, **options):
    kbert.set_seed(0)
    model = TASK.build(tiny.build_preset(), precision="float32", **options)
    TASK.prepare(model, splits.train)
    TASK.compile(model, kbert.adamw(1e-2))
    batches = TASK.feed(model, splits.train, 16, 1)
    held_out = TASK.feed(model, splits.validation, 16, None)
    history = model.fit(batches, validation_data=held_out, epochs=epochs, verbose=0)
    return model, history.history


@pytest.fixture(scope="module")
def trained():
    splits = load(build_questions(240), validation=0.2)
    return *train(splits), splits


def test_a_tiny_model_learns_to_answer(trained):
    model, history, splits = trained
    assert model.task == "answer" and model.metadata == {"unanswerable": False}
    predictions = TASK.predict(model, splits.validation)
    metrics = TASK.measure(splits.validation, predictions)
    assert metrics["exact_match"]["value"] > 0.9
    assert history["val_span_accuracy"][-1] > 0.9
    for one, context in zip(predictions, splits.validation.contexts, strict=True):
        assert context[one.start : one.end] == one.text
        assert 0 < one.probability <= 1
    table = TASK.tabulate(model, splits.validation, predictions)
    assert list(table) == ["answer", "start", "end", "probability"]


def test_long_texts_are_answered_from_all_of_their_windows(trained):
    model, *_ = trained
    filler = "the film was a plot "
    texts = [filler * 20 + "great " + filler * 3, "great " + filler * 20, filler * 20]
    texts[2] = filler * 10 + "great\u2003. " + filler * 8
    answers = TASK.predict(model, [("good ?", text) for text in texts])
    for one, text in zip(answers, texts, strict=True):
        assert one.text == "great" and text.index("great") == one.start


def test_odd_inputs_are_answered_or_said(trained, caplog):
    model, *_ = trained
    one, two = TASK.predict(model, [("good ?", ""), ("good " * 40, "a great film")])
    assert "1 of 2 questions were cut to 10 tokens, half" in caplog.text
    assert one == Answer("", None, None, one.probability) and two.text
    assert TASK.predict(model, []) == []
    with pytest.raises(ValueError, match="input 1 must be a question and the text"):
        TASK.predict(model, [("a", "b"), "c"])
    with pytest.raises(ValueError, match="the task answer has no option 'clean'"):
        TASK.build(tiny.build_preset(), clean="fixed")


def test_a_saved_model_answers_the_same(trained, tmp_path):
    model, _, splits = trained
    model.save(tmp_path / "answers.keras")
    loaded = kbert.load_model(tmp_path / "answers.keras")
    assert loaded.metadata == {"unanswerable": False}
    part = splits.validation[:8]
    assert TASK.predict(loaded, part) == TASK.predict(model, part)
    logs = loaded.evaluate(
        TASK.feed(loaded, part, 8, None), verbose=0, return_dict=True
    )
    assert set(logs) == {"loss", "span_accuracy"}


@pytest.mark.slow
def test_a_process_that_knows_nothing_of_the_task_loads_its_models(trained, tmp_path):
    path = tmp_path / "answers.keras"
    trained[0].save(path)
    tiny.run_python(
        f"import kbert; model = kbert.load_model({str(path)!r});"
        "assert model.task == 'answer' and model.compiled"
    )


@pytest.mark.slow
def test_questions_without_an_answer_teach_to_give_none():
    splits = load(build_questions(240, unanswerable=True), validation=0.2)
    model, _ = train(splits, epochs=6)
    assert model.metadata == {"unanswerable": True}
    predictions = TASK.predict(model, splits.validation)
    metrics = TASK.measure(splits.validation, predictions)
    assert metrics["exact_match_unanswerable"]["value"] > 0.8
    assert metrics["exact_match_answerable"]["value"] > 0.8
    assert {one.start for one in predictions if not one.text} == {None}


def test_padding_counts_neither_in_loss_nor_in_probabilities(trained):
    model, _, splits = trained
    arrays, labels = TASK.feed(model, splits.validation[:5], 5, None)[0]
    wide = {name: np.pad(one, ((0, 0), (0, 9))) for name, one in arrays.items()}
    one, two = (model.test_on_batch(x, labels) for x in (arrays, wide))
    model.reset_metrics()
    assert one[0] == pytest.approx(two[0], rel=1e-4)
    probabilities = model.predict_on_batch(wide)
    assert probabilities[..., -9:].max() == 0
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)


# === Beside transformers ===


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "distil_bert", "roberta"])
def test_logits_and_loss_are_transformers_own(tmp_path, family):
    import torch

    theirs, preset = task_cases.write_transformers(
        tmp_path, family, "QuestionAnswering"
    )
    model = TASK.build(preset, max_length=24, precision="float32")
    task_cases.copy_head(model.get_layer("span_scores"), theirs.qa_outputs)
    TASK.compile(model, kbert.adamw(1e-3))
    # Windows of one length: transformers' softmax takes padding in, and ours does not.
    columns = {"question": ["a b", "c d"], "context": ["a b c d", "b b d c"]}
    columns |= {"answer": ["c d", "b d"]}
    part = load(columns, validation=None).train
    batches = TASK.feed(model, part, 2, None)
    arrays, labels = batches[0]
    assert arrays["padding_mask"].all() and labels.min() > 0
    start, end = torch.tensor(labels).long().T
    with torch.no_grad():
        expected = theirs(
            **task_cases.rename(arrays), start_positions=start, end_positions=end
        )
        ours = model({k: torch.tensor(v) for k, v in arrays.items()})._keras_logits
    logits = torch.stack([expected.start_logits, expected.end_logits], 1)
    torch.testing.assert_close(ours, logits, atol=1e-4, rtol=0)
    loss = model.evaluate(batches, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(float(expected.loss), abs=1e-4)


@pytest.mark.slow
def test_squads_answers_map_to_tokens_and_back(shared_data):
    path = shared_data("squad") / "dev-v1.1.json"
    splits = TASK.load(Request(source=path, validation=None, test=0.2))
    assert len(splits.train) + len(splits.test) == 10570
    assert not set(splits.train.groups) & set(splits.test.groups)
    preset = kbert.load_preset("all_minilm_l6_v2_en")
    preprocessor = kbert.Preprocessor(preset.tokenizer, max_length=384)
    part = splits.test
    windows = encode_passages(part.questions, part.contexts, preprocessor)
    windows = windows.with_answers(part.answers, part.contexts)
    chosen = np.flatnonzero(windows.answers[:, 0])
    assert len(np.unique(windows.questions[chosen])) == len(part)
    tokens = windows.answers - windows.columns[:, None] + windows.firsts[:, None]
    rows = windows.questions[chosen]
    spans = windows.find_characters(rows, tokens[chosen])
    same = [
        part.contexts[row][start:end] == part.answers[row][0].text
        for row, (start, end) in zip(rows, spans.tolist(), strict=True)
    ]
    assert np.mean(same) > 0.99  # the others begin or end inside a token
