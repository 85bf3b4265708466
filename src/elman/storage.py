"""One file, ``.elman``: safetensors bytes, with everything that is not a tensor as JSON in their metadata.

Data only: nothing in a file is ever executed. Readers have limits and refuse what is out of bounds; writers write to
a temporary name and rename, so a crash, a full disk or a killed process leaves the earlier file whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elman.params import Array

FORMAT = 1
MAX_HEADER_BYTES = 32 << 20
_KEY = "elman"


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a whole file or none: the earlier file stays as it is until the new one is on the disk.

    Raises OSError, with a sentence that says what remains, where the file cannot be written.
    """
    target = Path(os.path.realpath(path))  # through a link the file it names is written, and the link stays
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        kept = "; the earlier file is unchanged" if os.path.exists(target) else ""
        reason = f"cannot write {target} ({len(data):,} bytes): {error.strerror or error}{kept}"
        raise OSError(error.errno, reason) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write(path: str | os.PathLike[str], tensors: Mapping[str, Array], about: Mapping[str, Any]) -> None:
    """Write tensors and what is to be known about them (any JSON) to one file, whole or not at all."""
    import numpy as np
    from safetensors.numpy import save

    text = json.dumps({"format": FORMAT, **about})
    if len(text) > MAX_HEADER_BYTES // 2:
        raise ValueError(f"{path}: the description of the model has {len(text):,} characters, too many for a file")
    contiguous = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    write_bytes(path, save(contiguous, {_KEY: text}))


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the tensors and the JSON of a file that `write` wrote.

    Raises
    ------
    FileNotFoundError, OSError
        where the file cannot be read
    ValueError
        where it is not whole, not an .elman file, or of a newer format; the sentence says which
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    with open(path, "rb") as file:
        start = file.read(8)
        size = os.fstat(file.fileno()).st_size
    if len(start) < 8:
        raise ValueError(f"{path}: not an .elman file: only {len(start)} bytes long")
    (header,) = struct.unpack("<Q", start)
    if header > MAX_HEADER_BYTES or header > size - 8:
        reason = "it is cut short" if header <= MAX_HEADER_BYTES else "not one at all"
        raise ValueError(f"{path}: not a whole .elman file: {reason} (header of {header:,} bytes, file of {size:,})")
    try:
        with safe_open(path, "np") as opened:  # checks offsets, overlaps, duplicates and the length of the file
            text = (opened.metadata() or {}).get(_KEY)
            if text is None:
                raise ValueError(f"{path}: a safetensors file without Elman's description of the model")
            tensors = {name: opened.get_tensor(name) for name in list(opened.keys())}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole .elman file: {error}") from error
    except (TypeError, AttributeError) as error:  # a type that NumPy lacks
        raise ValueError(f"{path}: holds a tensor of a type that NumPy lacks: {error}") from error
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged: the description of the model is not JSON ({error})") from error
    if not isinstance(about, dict) or not isinstance(about.get("format"), int):
        raise ValueError(f"{path}: damaged: the description of the model says no format")
    if about["format"] > FORMAT:
        raise ValueError(f"{path}: of format {about['format']}, this version reads up to {FORMAT}: update elman")
    return tensors, about
