"""Reading text: the encoding is named, never guessed, and a wrong one is told with a better one."""

from __future__ import annotations

import codecs
import importlib
import os
from pathlib import Path

# Tried in this order when a file is not in the encoding that was named. Every file decodes as latin-1: it comes last.
OTHERS = ("utf-8", "gb18030", "big5", "shift_jis", "euc_kr", "cp1251", "cp1252", "latin-1")
PACKED = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}
PROBE_BYTES = 1 << 20  # that an encoding has to decode before the whole is tried


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a file; of one whose name ends in .gz, .bz2 or .xz, those that are compressed in it.

    Raises ValueError if it is empty, and OSError where it cannot be read.
    """
    packed = Path(path).suffix.lower()
    data = Path(path).read_bytes()
    if packed in PACKED and data:
        try:
            data = importlib.import_module(PACKED[packed]).decompress(data)
        except Exception as error:  # errors of zlib and lzma have no common base
            raise ValueError(f"{path}: cannot be decompressed: {error}") from error
    if not data:
        raise ValueError(f"{path}: the file is empty")
    return data


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8", *, keep_newlines: bool = False) -> str:
    r"""Return the text of a file.

    A byte-order mark is dropped. Line ends become ``\n``, unless `keep_newlines`. The locale plays no part.

    Parameters
    ----------
    path : file to read
    encoding : of the file, any that Python knows

    Raises
    ------
    ValueError
        if the file is empty, or not in this encoding; the sentence names the first bad byte and an encoding that fits.
        If the encoding is none, or none of text, such as hex
    """
    codec = _text_codec(encoding)
    data = read_bytes(path)
    try:
        text = codec.decode(data)[0]
    except UnicodeError as error:
        at = f" at byte {error.start}" if isinstance(error, UnicodeDecodeError) else ""
        fits = fitting_encodings(data)
        advice = f"it decodes cleanly as {fits[0]}: use --encoding {fits[0]}" if fits else "it may not be a text at all"
        if len(fits) > 1:
            advice += f" (also as {', '.join(fits[1:3])})"
        raise ValueError(f"{path}: not {codec.name}{at}: {advice}") from None
    text = text.removeprefix("\ufeff")
    if not keep_newlines and "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text:
        raise ValueError(f"{path}: the file holds no text, only a byte-order mark")
    return text


def fitting_encodings(data: bytes) -> list[str]:
    """Return the encodings that decode all of the data, the likeliest first."""
    candidates = list(OTHERS)
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        candidates.insert(0, "utf-16")
    elif b"\0" in data[:1000]:
        return []
    return [name for name in candidates if _decodes(data, name)]


def _text_codec(encoding: str) -> codecs.CodecInfo:
    try:
        codec = codecs.lookup(encoding)
    except LookupError:
        raise ValueError(f"encoding {encoding!r} is not known to Python; try utf-8, gb18030, big5, latin-1") from None
    try:
        "a".encode(encoding)
    except LookupError:
        raise ValueError(f"encoding {encoding!r} is not one of text; try utf-8, gb18030, big5, latin-1") from None
    except UnicodeError:  # one of text that has no a
        pass
    return codec


def _decodes(data: bytes, encoding: str) -> bool:
    """Say whether all of the data decodes: first the beginning, whose end may cut a character, then the whole."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(data[:PROBE_BYTES], final=len(data) <= PROBE_BYTES)
        if len(data) > PROBE_BYTES:
            data.decode(encoding)
    except UnicodeError:
        return False
    return True
