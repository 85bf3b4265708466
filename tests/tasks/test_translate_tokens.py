"""Tokens of a language, and pairs of lines."""

import json

import numpy as np
import pytest

from elman.tasks.translate import PairBuckets, Tokens, read_pairs, split_pairs
from elman.tasks.translate.tokens import BEGIN, END, SPECIAL, UNKNOWN

LINES = ["I like tea, you don't.", "He likes green tea.", "You like him.", "Tea is  green\u3000tea."]
CHINESE = ["我喜欢喝茶。", "他喜欢绿茶。", "你好吗？"]
LEVELS = ["char", "word", "space", "bpe", "unigram"]


def learn(level, lines=LINES, **options):
    if level in ("bpe", "unigram"):
        pytest.importorskip("tokenizers")
        options = {"max_size": 60, **options}
    return Tokens.learn(lines, level, **options)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("lines", [LINES, CHINESE], ids=["english", "chinese"])
def test_lines_come_back(level, lines):
    tokens = learn(level, lines)
    assert tokens.texts[:3] == SPECIAL
    for line in lines:
        ids, pieces = tokens.split(line)
        assert UNKNOWN not in ids
        assert len(ids) == len(pieces)
        assert tokens.decode([*ids, END]) == " ".join(line.split())
        assert "".join(pieces).replace(" ", "") == "".join(line.split())


@pytest.mark.parametrize("level", LEVELS)
def test_empty_and_unknown_lines(level):
    tokens = learn(level)
    assert tokens.encode("") == tokens.encode(" \t\u3000 ") == []
    assert tokens.decode([]) == tokens.decode([BEGIN, END]) == ""
    ids, pieces = tokens.split("tea 猫")
    assert UNKNOWN in ids
    assert "猫" in pieces


@pytest.mark.parametrize("level", LEVELS)
def test_round_trip_through_json(level):
    tokens = learn(level, lower=True)
    again = Tokens.from_json(json.loads(json.dumps(tokens.to_json())))
    assert again == tokens
    assert again.split("He likes TEA.") == tokens.split("He likes TEA.")


@pytest.mark.parametrize(
    "change",
    [
        {"level": "verse"},
        {"texts": ["a", "b", "c"]},
        {"texts": [*SPECIAL, "a", "a"]},
        {"texts": [*SPECIAL, 1]},
        {"texts": None},
        {"lower": "no"},
        {"level": "bpe"},
        {"level": "bpe", "rules": "{}"},
    ],
)
def test_damaged_json_is_refused(change):
    pytest.importorskip("tokenizers")
    with pytest.raises(ValueError, match="damaged tokens"):
        Tokens.from_json({**learn("char").to_json(), **change})


def test_rules_of_another_vocabulary_are_refused():
    value = learn("bpe").to_json()
    value["texts"][-1] = "other"
    with pytest.raises(ValueError, match="another vocabulary"):
        Tokens.from_json(value)


def test_a_vocabulary_without_room_for_the_characters_is_refused():
    pytest.importorskip("tokenizers")
    with pytest.raises(ValueError, match=r"unigram: 9 tokens at the most \(max_size, --max-vocabulary\): the vocab"):
        Tokens.learn(LINES, "unigram", max_size=9)


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_copied_is_a_whole_word_as_it_was_written(level):
    tokens = learn(level, [*LINES, *CHINESE], lower=True)
    line = " He likes  Zyzzyva-2.0, 茶 İTea" if level == "space" else " He likes  Zyzzyva-2.0, 茶 tea"
    ids, pieces = tokens.split(line)
    words = tokens.words(line)
    assert len(words) == len(ids) == len(pieces)
    assert "".join(pieces).lower() == "".join(line.split()).lower()
    if level != "space":
        assert "He" in [word for _, word in words]
        assert "".join(pieces) == "".join(line.split())
    assert all(word for _, word in words)
    whole = {"word": "Zyzzyva", "space": "zyzzyva-2.0,"}.get(level, "Zyzzyva-2.0")
    assert whole in [word for _, word in words]
    assert "茶" in [word for _, word in words]
    assert tokens.words("") == []


@pytest.mark.parametrize("size", [4, 9, 30])
def test_bpe_has_no_more_tokens_than_asked_for(size):
    pytest.importorskip("tokenizers")
    tokens = Tokens.learn([*LINES, *CHINESE], "bpe", max_size=size)
    assert len(tokens) <= size
    assert UNKNOWN in tokens.encode("茶 z")


def test_rare_tokens_are_unknown():
    tokens = Tokens.learn(["a a b", "a c c"], "space", min_count=2)
    assert tokens.texts[3:] == ("a", "c")
    assert tokens.encode("a b c") == [3, UNKNOWN, 4]
    assert Tokens.learn(["a a b", "a c c"], "space", max_size=4).texts[3:] == ("a",)


def test_unknown_tokens_are_written_as_told():
    for level, expected in (("char", "我Tom"), ("word", "x Tom"), ("space", "x Tom")):
        tokens = learn(level, ["我我" if level == "char" else "x x"])
        assert tokens.decode([3, UNKNOWN, END], ["", "Tom", ""]) == expected
        assert "\ufffd" in tokens.decode([3, UNKNOWN, END])
    tokens = learn("bpe", ["low lower lowest"] * 3)
    ids = [*tokens.encode("low"), UNKNOWN, UNKNOWN, *tokens.encode("lower")]
    unknown = [{0: "Tom", 1: ""}.get(k - len(tokens.encode("low")), "wrong") for k in range(len(ids))]
    assert tokens.decode(ids, unknown) == "low Tom lower"


def test_special_texts_in_a_line_are_no_special_tokens():
    tokens = learn("space", ["a </s> <unk> b"])
    assert END not in tokens.encode("a </s> b")
    assert tokens.encode("a <s>")[-1] == UNKNOWN


def test_pairs_of_two_files_and_of_one(tmp_path):
    (tmp_path / "a").write_bytes("\ufeffHi.\r\nOne word\r\n\r\nMixed 文字 text.\r\n".encode())
    (tmp_path / "b").write_bytes("嗨。\n一\n空\n混合。".encode())
    expected = [("Hi.", "嗨。"), ("One word", "一"), ("Mixed 文字 text.", "混合。")]
    assert read_pairs(tmp_path / "a", tmp_path / "b") == expected
    assert read_pairs(tmp_path / "a", tmp_path / "b", keep_empty=True)[2] == ("", "空")
    (tmp_path / "t.tsv").write_bytes("Hi.\t嗨。\tCC\r\nOne word\t一\r\n\r\n\t空\nMixed 文字 text.\t混合。\n".encode())
    assert read_pairs(tmp_path / "t.tsv") == expected


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["a\nb\n", "x\n"], "has 2 lines, .* has 1: line k of one must be the translation"),
        (["a\tb\nc\n"], "line 2 has no tab between a line and its translation: 'c'"),
        (["\n\n", "x\ny\n"], "holds no pair"),
    ],
)
def test_files_that_hold_no_pairs_are_refused(tmp_path, files, words):
    paths = []
    for k, text in enumerate(files):
        paths.append(tmp_path / str(k))
        paths[-1].write_text(text)
    with pytest.raises(ValueError, match=words):
        read_pairs(*paths)


def test_no_source_is_in_two_parts():
    pairs = [(f"line {k % 40}" if k % 3 else f"Line {k % 40}", str(k)) for k in range(200)]
    parts = split_pairs(pairs, 0.2, 0.1, seed=1)
    assert sorted(pair for part in parts for pair in part) == sorted(pairs)
    sources = [{a.lower() for a, _ in part} for part in parts]
    assert [len(s) for s in sources] == [28, 8, 4]
    assert sum(map(len, sources)) == len(set().union(*sources))
    assert split_pairs(pairs, 0.2, 0.1, seed=1) == parts
    assert split_pairs(pairs, 0.2, 0.1, seed=2) != parts


def test_shares_leave_something_for_the_rest():
    pairs = [("a", "1"), ("b", "2"), ("c", "3")]
    assert [len(part) for part in split_pairs(pairs, 0.05, 0.05)] == [1, 1, 1]
    assert [len(part) for part in split_pairs(pairs, 0.0, 0.05)] == [2, 0, 1]
    assert [len(part) for part in split_pairs(pairs[:1], 0.05)] == [1, 0]
    for shares in ((1.0,), (0.5, 0.5)):
        with pytest.raises(ValueError, match="split_pairs: share"):
            split_pairs(pairs, *shares)


def test_batches_are_a_function_of_the_step():
    rng = np.random.default_rng(0)
    pairs = [
        (rng.integers(3, 9, rng.integers(1, 12)).tolist(), rng.integers(3, 9, rng.integers(0, 9)).tolist())
        for _ in range(50)
    ]
    batches = PairBuckets(pairs, 8, seed=3, n_epochs=2)
    assert batches.n_batches == 14
    seen = []
    for step, batch in enumerate(batches):
        again = PairBuckets(pairs, 8, seed=3).batch(step)
        assert all(np.array_equal(a, b) for a, b in zip(batch.x, again.x, strict=True))
        for row, (n, s) in enumerate(zip(batch.x.source_lengths, batch.lengths, strict=True)):
            target = batch.x.target[row, :s]
            assert target[0] == BEGIN
            assert batch.targets[row, s - 1] == END
            assert target[1:].tolist() == batch.targets[row, : s - 1].tolist()
            seen.append((batch.x.source[row, :n].tolist(), target[1:].tolist()))
    assert sorted(seen) == sorted(pairs * 2)
    spread = [np.ptp(batch.lengths) for batch in batches]
    assert np.mean(spread) < 2
