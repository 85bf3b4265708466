"""Reading text: encodings, byte-order marks, line ends (case G4)."""

import pytest

from elman.tasks import text as text_module
from elman.tasks.text import fitting_encodings, read_text
from elman.tasks.vocabulary import Vocabulary

CHINESE = "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。"


def written(tmp_path, data):
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    return path


def test_g4_byte_order_mark_is_no_character(tmp_path):
    text = read_text(written(tmp_path, b"\xef\xbb\xbfabc"))
    assert text == "abc"
    assert set(Vocabulary.learn(text).tokens) == {"a", "b", "c"}


@pytest.mark.parametrize("encoding", ["gbk", "gb18030", "utf-8", "big5", "utf-16"])
def test_g4_named_encodings_give_the_same_text(tmp_path, encoding):
    assert read_text(written(tmp_path, CHINESE.encode(encoding)), encoding) == CHINESE


def test_g4_wrong_encoding_names_the_byte_and_the_one_that_fits(tmp_path):
    path = written(tmp_path, b"abc " + CHINESE.encode("gbk"))
    with pytest.raises(ValueError, match=r"not utf-8 at byte 4: it decodes cleanly as gb18030: use --encoding gb18030"):
        read_text(path)


def test_utf16_is_recognised_by_its_mark(tmp_path):
    with pytest.raises(ValueError, match="as utf-16"):
        read_text(written(tmp_path, CHINESE.encode("utf-16")))


def test_a_picture_is_no_text(tmp_path):
    with pytest.raises(ValueError, match="it may not be a text at all"):
        read_text(written(tmp_path, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"))


def test_latin_1_is_the_last_resort():
    assert fitting_encodings(b"caf\xe9")[-1] == "latin-1"


def test_g4_line_ends(tmp_path):
    path = written(tmp_path, b"a\r\nb\rc\n")
    assert read_text(path) == "a\nb\nc\n"
    assert read_text(path, keep_newlines=True) == "a\r\nb\rc\n"


@pytest.mark.parametrize(
    ("data", "sentence"), [(b"", "the file is empty"), (b"\xef\xbb\xbf", "only a byte-order mark")]
)
def test_nothing_in_the_file(tmp_path, data, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_text(written(tmp_path, data))


class Counted(bytes):
    """Bytes that note each encoding that all of them were decoded in."""

    def decode(self, encoding):
        self.tried.append(encoding)
        return super().decode(encoding)


def test_only_encodings_that_fit_the_beginning_decode_the_whole(monkeypatch):
    monkeypatch.setattr(text_module, "PROBE_BYTES", 1001)  # within a character
    data = Counted((CHINESE * 100).encode("gbk"))
    data.tried = []
    assert fitting_encodings(data)[0] == "gb18030"
    assert "utf-8" not in data.tried
    utf8 = Counted((CHINESE * 100).encode() + b"\xff")
    utf8.tried = []
    assert "utf-8" not in fitting_encodings(utf8)
    assert utf8.tried[0] == "utf-8"  # whose beginning fits


@pytest.mark.parametrize("encoding", ["hex", "rot13", "base64", "zlib"])
def test_codecs_that_are_not_of_text(tmp_path, encoding):
    with pytest.raises(ValueError, match=f"encoding '{encoding}' is not one of text"):
        read_text(written(tmp_path, b"6162"), encoding)


def test_unknown_codec(tmp_path):
    with pytest.raises(ValueError, match="encoding 'klingon' is not known to Python"):
        read_text(written(tmp_path, b"a"), "klingon")
