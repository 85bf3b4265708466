"""BLEU and its tokenisers (cases F4 and F5)."""

import sys

import pytest

pytest.importorskip("sacrebleu")
from elman.tasks.translate import bleu, chrf


def test_f4_the_same_chinese_sentence_by_character_and_by_blank():
    text = ["今天天气很好"]
    assert bleu(text, text, tokenize="char").bleu == pytest.approx(100)
    with pytest.warns(
        UserWarning, match="1 of 1 references are Chinese or Japanese without blanks.*use tokenize='char'"
    ):
        by_blank = bleu(text, text, tokenize="none")
    assert by_blank.precisions[3] == 0


def test_f4_the_numbers():
    score = bleu(["我喜欢吃梨"], ["我喜欢吃苹果"], tokenize="char")
    assert score.bleu == pytest.approx(54.7518, abs=1e-4)
    assert score.precisions == pytest.approx([80, 75, 66.66667, 50], abs=1e-4)
    assert score.brevity_penalty == pytest.approx(0.818731, abs=1e-6)
    assert "tok:char" in score.signature


def test_f5_the_signature_names_the_tokeniser():
    lines = ["he likes green tea ."]
    for name in ("char", "zh", "13a", "none", "intl"):
        assert f"tok:{name}" in bleu(lines, lines, tokenize=name).signature
    with pytest.raises(TypeError, match="tokenize"):
        bleu(lines, lines)


def test_japanese_split_by_blanks_gives_no_warning():
    lines = ["誰 が 一番 に 着 く か 私 に は 分か り ま せ ん 。"]
    assert bleu(lines, lines, tokenize="none").bleu == pytest.approx(100)


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="as many references as hypotheses, at least one, got 1 and 2"):
        bleu(["a", "b"], ["a"], tokenize="13a")
    with pytest.raises(ValueError, match="at least one"):
        bleu([], [], tokenize="13a")


def test_chrf():
    assert chrf(["我喜欢吃梨"], ["我喜欢吃梨"]) == pytest.approx(100)
    assert 0 < chrf(["我喜欢吃梨"], ["我喜欢吃苹果"]) < 100


def test_tokenisers_that_are_unknown_or_lack_a_part_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="the tokeniser verse is not known to sacrebleu"):
        bleu(["a"], ["a"], tokenize="verse")
    monkeypatch.setitem(sys.modules, "MeCab", None)
    monkeypatch.delitem(sys.modules, "sacrebleu.tokenizers.tokenizer_ja_mecab", raising=False)
    with pytest.raises(ValueError, match="the tokeniser ja-mecab of sacrebleu cannot be used: "):
        bleu(["a"], ["a"], tokenize="ja-mecab")
