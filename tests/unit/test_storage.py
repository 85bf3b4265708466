"""Files: damaged, hostile and foreign ones, and disks that are full. Nothing but ValueError, or a correct model."""

import errno
import json
import os
import re
import resource
import struct
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import save as safetensors_bytes

import elman
from elman import storage
from elman.model import MAX_DEPTH
from tolerances import assert_same

LAYER = elman.Sequential(elman.Embedding(5, 2), elman.LSTM(2, 3), elman.Linear(3, 4))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.elman"


@pytest.fixture
def whole(path):
    """Return the bytes of a good file, which also stands at path."""
    LAYER.init(seed=1).save(path, tensors={"training/moment0": np.arange(4.0)})
    return path.read_bytes()


def parts(data):
    """Return header (as JSON) and the bytes of the tensors."""
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def joined(header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def attempt(path, data):
    """Return the sentence with which a file is refused, without the file's name, or None where it loads."""
    path.write_bytes(data)
    try:
        elman.load(path)
    except Exception as error:
        problem = error
    else:
        return None
    assert type(problem) is ValueError, repr(problem)
    assert str(problem).startswith(f"{path}: ")
    return str(problem).removeprefix(f"{path}: ")


def refused(path, data):
    """Return the sentence with which a file is refused."""
    sentence = attempt(path, data)
    assert sentence is not None
    return sentence


def described(about, tensors=None):
    """Return a file of Elman with any description."""
    tensors = {} if tensors is None else tensors
    return safetensors_bytes(tensors, {"elman": about if isinstance(about, str) else json.dumps(about)})


def of_layer(layer, tensors=None, **more):
    return described({"format": 1, "layer": layer, **more}, tensors)


# ------------------------------------------------------------------------------------------------------ truncation


def test_cut_short_anywhere(path, whole):
    (size,) = struct.unpack("<Q", whole[:8])
    places = {0, 1, 7, 8, 9, 8 + size // 2, 8 + size - 1, 8 + size, 8 + size + 1, len(whole) // 2, len(whole) - 1}
    for place in sorted(places | set(range(0, len(whole), 97))):
        sentence = refused(path, whole[:place])
        if place < 8:
            assert sentence == f"not an .elman file: only {place} bytes long"
        elif place < 8 + size:
            assert sentence == (
                f"not a whole .elman file: it is cut short (header of {size:,} bytes, file of {place:,})"
            )
        else:
            assert sentence.startswith("not a whole .elman file: ")


def test_something_after_the_end(path, whole):
    assert refused(path, whole + b"\0").startswith("not a whole .elman file: ")


@pytest.mark.parametrize(
    "length", [0, 1, 2, 7, 1 << 20, storage.MAX_HEADER_BYTES, storage.MAX_HEADER_BYTES + 1, 1 << 40, (1 << 63), -1]
)
def test_hostile_lengths_of_the_header(path, whole, length):
    length %= 1 << 64
    sentence = refused(path, struct.pack("<Q", length) + whole[8:])
    assert sentence.startswith("not a whole .elman file: ")
    if length > storage.MAX_HEADER_BYTES:
        assert f"not one at all (header of {length:,} bytes, file of {len(whole):,})" in sentence


def test_other_files(path):
    for data in (b"", b"PK\x03\x04" + bytes(100), b"\x80\x04K\x01." * 30, b"\x89PNG\r\n\x1a\n" + bytes(50), b"{}" * 60):
        refused(path, data)


def test_random_flips_of_bytes(path, whole):
    rng = np.random.default_rng(0)
    (size,) = struct.unpack("<Q", whole[:8])
    loaded = 0
    for trial in range(400):
        data = np.frombuffer(whole, np.uint8).copy()
        end = 8 + size if trial % 4 else len(whole)  # most of them in the header
        places = rng.integers(0, end, rng.integers(1, 4))
        data[places] = rng.integers(0, 256, len(places)) if trial % 2 else data[places] ^ (1 << rng.integers(0, 8))
        if attempt(path, data.tobytes()) is None:
            loaded += 1
            model = elman.load(path)
            assert repr(model.params.shapes) == repr(model.layer.shapes())
            with np.errstate(all="ignore"):
                assert model(np.zeros((1, 2), int)).y.shape[:2] == (1, 2)
    assert loaded


# --------------------------------------------------------------------------------------------------- wrong content


def test_tensors_missing_left_over_or_of_another_shape(path, whole):
    model = elman.load(path)
    tensors = {name: array.copy() for name, array in model.params.items()}
    about = parts(whole)[0]["__metadata__"]["elman"]

    def sentence(change):
        changed = dict(tensors)
        change(changed)
        return refused(path, described(about, changed))

    assert sentence(lambda t: t.pop("1.bias_hh")) == (
        f"damaged: {LAYER!r} has 110 parameters, the file 98 of ['float32']"
    )
    assert "the file 113 of" in sentence(lambda t: t.update(extra=np.zeros(3, np.float32)))
    renamed = sentence(lambda t: t.update(bias_hh=t.pop("1.bias_hh")))
    assert renamed == "damaged: tensors missing: ['1.bias_hh'], not of this model: ['bias_hh']"
    turned = sentence(lambda t: t.update({"2.weight": t["2.weight"].T.copy()}))
    assert turned == "damaged: 2.weight must be (4, 3), got (3, 4)"
    mixed = sentence(lambda t: t.update({"2.bias": t["2.bias"].astype(np.float64)}))
    assert mixed == f"damaged: {LAYER!r} has 110 parameters, the file 110 of ['float32', 'float64']"
    for kind in ("int32", "float16", "bool", "uint8", "int64"):
        assert "damaged: " in sentence(lambda t, kind=kind: t.update({k: v.astype(kind) for k, v in t.items()}))
    path.write_bytes(described(about, tensors | {"2.bias": np.full(4, np.nan, np.float32)}))
    assert np.isnan(elman.load(path).params["2.bias"]).all()  # NaN is a number like any other here


def test_tensors_of_types_that_numpy_lacks(path, whole):
    header, body = parts(whole)
    for kind, width in (("BF16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1), ("F4", 0.5), ("C64", 8), ("Q7", 4)):
        for name in ("0.weight", "training/moment0"):
            changed = json.loads(json.dumps(header))
            entry = changed[name]
            start, stop = entry["data_offsets"]
            changed[name] = {"dtype": kind, "shape": [int((stop - start) / width)], "data_offsets": [start, stop]}
            attempt(path, joined(changed, body))  # a newer safetensors may read some of them


def test_offsets_that_overlap_or_leave_the_file(path, whole):
    header, body = parts(whole)
    names = [name for name in header if name != "__metadata__"]
    for change in (
        lambda h: h[names[1]].update(data_offsets=h[names[0]]["data_offsets"], shape=h[names[0]]["shape"]),
        lambda h: h[names[1]].update(data_offsets=[0, 8]),
        lambda h: h[names[-1]].update(data_offsets=[len(body), len(body) + 16]),
        lambda h: h[names[-1]].update(data_offsets=[16, 0]),
        lambda h: h[names[-1]].update(data_offsets=[-8, 8]),
        lambda h: h[names[-1]].update(data_offsets=[1 << 62, (1 << 62) + 16]),
        lambda h: h[names[0]].update(shape=[1 << 62, 1 << 62]),
        lambda h: h[names[0]].update(shape=[-1]),
        lambda h: h[names[0]].update(shape="5,2"),
        lambda h: h[names[0]].pop("dtype"),
        lambda h: h.update({names[0]: None}),
        lambda h: h.update({"hole": {"dtype": "F32", "shape": [1], "data_offsets": [len(body) + 4, len(body) + 8]}}),
    ):
        changed = json.loads(json.dumps(header))
        change(changed)
        assert refused(path, joined(changed, body)).startswith("not a whole .elman file: ")


def test_headers_that_are_no_json(path):
    for text in (b"", b"[]", b"{", b"nonsense", b'{"a":1}', b"\xff\xfe{}", b"[" * 100_000, b'{"a":' * 50_000):
        refused(path, joined(text, b""))
    entry = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    double = b"{" + entry + b"," + entry + b"}"
    refused(path, joined(double, bytes(4)))


def test_foreign_safetensors(path):
    for metadata in (None, {}, {"format": "pt"}):
        sentence = refused(path, safetensors_bytes({"weight": np.zeros(3)}, metadata))
        assert sentence == "a safetensors file without Elman's description of the model"


@pytest.mark.parametrize(
    "text", ["", "{", "nonsense", "{'format': 1}", "[" * 100_000, '{"layer":' * 50_000, "9" * 5000, "\ud7ff\0"]
)
def test_descriptions_that_are_no_json(path, text):
    assert "damaged: the description of the model is not JSON" in refused(path, described(text))


@pytest.mark.parametrize("about", [[], 1, '"a"', None, {}, {"format": "1"}, {"format": None}, {"format": 1.5}])
def test_descriptions_without_a_format(path, about):
    assert refused(path, described(about)) == "damaged: the description of the model says no format"


def test_newer_formats(path):
    sentence = refused(path, described({"format": 2, "layer": "a new thing"}))
    assert sentence == "of format 2, this version reads up to 1: update elman"


LSTM = {"kind": "LSTM", "input_size": 2, "hidden_size": 3}
DROPOUT = {"kind": "Dropout", "p": 0.5}


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (None, "no such kind of layer: None"),
        ("LSTM", "no such kind of layer: 'LSTM'"),
        ([LSTM], "no such kind of layer: [{'kind'"),
        ({"kind": "Transformer"}, "no such kind of layer: 'Transformer'"),
        ({"kind": "os.system"}, "no such kind of layer: 'os.system'"),
        ({"kind": ["LSTM"]}, ""),
        ({"kind": {"LSTM": 1}}, ""),
        (LSTM | {"colour": "red"}, "LSTM has no option 'colour'"),
        (LSTM | {"__class__": 1}, "LSTM has no option '__class__'"),
        ({"kind": "LSTM", "input_size": 2}, "missing 1 required positional argument: 'hidden_size'"),
        (LSTM | {"hidden_size": "3"}, "LSTM: hidden_size must be an int, got str '3'"),
        (LSTM | {"hidden_size": 3.0}, "LSTM: hidden_size must be an int, got float 3.0"),
        (LSTM | {"hidden_size": True}, "LSTM: hidden_size must be an int, got bool True"),
        (LSTM | {"hidden_size": None}, "LSTM: hidden_size must be an int, got NoneType None"),
        (LSTM | {"hidden_size": 0}, "LSTM: hidden_size must be at least 1, got 0"),
        (LSTM | {"hidden_size": -3}, "LSTM: hidden_size must be at least 1, got -3"),
        (LSTM | {"hidden_size": [3]}, "LSTM: hidden_size must be an int, got list [3]"),
        (LSTM | {"hidden_size": DROPOUT}, "LSTM: hidden_size must be an int, got Dropout"),
        (LSTM | {"bias": 1}, "LSTM: bias must be a bool, got 1"),
        (LSTM | {"bias": None}, "LSTM: bias must be a bool, got None"),
        (LSTM | {"reverse": "no"}, "LSTM: reverse must be a bool, got 'no'"),
        (LSTM | {"forget_bias": "1"}, "LSTM: forget_bias must be a number, got '1'"),
        (LSTM | {"padded_output": "last"}, "LSTM: padded_output must be one of 'zero', 'hold', got 'last'"),
        (LSTM | {"padded_output": {}}, "no such kind of layer: None"),
        ({"kind": "RNN", "input_size": 1, "hidden_size": 1, "activation": "exec"}, "activation must be one of"),
        ({"kind": "Linear", "input_size": 1, "output_size": 1, "activation": 3}, "activation must be one of"),
        ({"kind": "Dropout", "p": 2}, "Dropout: p must be at least 0 and below 1, got 2"),
        ({"kind": "Dropout", "p": "much"}, ""),
        ({"kind": "Dropout", "p": None}, ""),
        ({"kind": "Dropout", "p": [0.5]}, ""),
        ({"kind": "Dropout", "p": float("nan")}, "Dropout: p must be at least 0 and below 1, got nan"),
        ({"kind": "Sequential"}, "Sequential: needs at least one layer"),
        ({"kind": "Sequential", "layers": []}, "Sequential: needs at least one layer"),
        ({"kind": "Sequential", "layers": 3}, ""),
        ({"kind": "Sequential", "layers": "ab"}, "no such kind of layer: 'a'"),
        ({"kind": "Sequential", "layers": LSTM}, ""),
        ({"kind": "Sequential", "layers": [LSTM, LSTM]}, "takes 2 features, but gets 3"),
        ({"kind": "Sequential", "layers": [DROPOUT], "colour": 1}, "Sequential has no option 'colour'"),
        ({"kind": "Bidirectional", "layer": 3}, "Bidirectional: layer must be an RNN, LSTM or GRU"),
        ({"kind": "Bidirectional", "layer": DROPOUT}, "Bidirectional: layer must be an RNN, LSTM or GRU"),
        ({"kind": "Bidirectional"}, ""),
        ({"kind": "Residual", "layer": "LSTM"}, "Residual: layer must be a layer, got str"),
        ({"kind": "Residual", "layer": LSTM}, "Residual: layer must give as many features as it takes"),
    ],
)
def test_architectures_that_are_none(path, layer, sentence):
    found = refused(path, of_layer(layer))
    assert found.startswith("damaged: ")
    assert sentence in found


def test_types_of_the_parameters_are_two(path):
    for dtype in ("float16", "object", "S1000000000", None, 3, ["float32"], {"a": 1}):
        assert "damaged: " in refused(path, of_layer(DROPOUT, dtype=dtype))


@pytest.mark.parametrize("depth", [3, 30, 100, 300, 1_000, 3_000, 20_000])
@pytest.mark.parametrize("kind", ["Sequential", "Residual"])
@pytest.mark.parametrize("core", [DROPOUT, {"kind": "GRU", "input_size": 2, "hidden_size": 2}])
def test_layers_nested_deeply(path, depth, kind, core):
    inside = json.dumps(core)
    if kind == "Sequential":
        text = '{"kind":"Sequential","layers":[' * depth + inside + "]}" * depth
    else:
        text = '{"kind":"Residual","layer":' * depth + inside + "}" * depth
    sentence = attempt(path, described('{"format":1,"layer":' + text + "}"))
    assert (sentence or "damaged: ").startswith("damaged: ")
    if depth > MAX_DEPTH:
        assert sentence
    elif core is DROPOUT:
        assert sentence is None


def test_huge_sizes_allocate_nothing(path):
    for layer in (
        LSTM | {"hidden_size": 10**6},
        LSTM | {"hidden_size": 10**18, "input_size": 10**18},
        LSTM | {"hidden_size": 10**4000},
        {"kind": "Embedding", "vocabulary_size": 2**62, "output_size": 2**62},
        {"kind": "Sequential", "layers": [{"kind": "Linear", "input_size": 10**5, "output_size": 10**5}] * 1000},
    ):
        data = of_layer(layer, {"1.weight": np.zeros(3, np.float32)})
        path.write_bytes(data)
        tracemalloc.start()
        try:
            assert refused(path, data).startswith("damaged: ")
            assert tracemalloc.get_traced_memory()[1] < 20 * len(data) + 2_000_000
        finally:
            tracemalloc.stop()


def test_nothing_in_a_file_is_executed(path, tmp_path):
    target = tmp_path / "executed"
    code = f"__import__('pathlib').Path({str(target)!r}).touch()"
    pickled = b"cos\nsystem\n(S'touch " + str(target).encode() + b"'\ntR."
    for data in (pickled, of_layer({"kind": code}), of_layer(LSTM | {"input_size": code}), described(code)):
        refused(path, data)
    assert not target.exists()


# ------------------------------------------------------------------------------------- disks that are full, crashes


def leftovers(folder):
    return sorted(item.name for item in folder.iterdir() if item.name.endswith(".tmp"))


@pytest.mark.parametrize("place", ["write", "flush", "fsync", "replace"])
def test_a_full_disk_leaves_the_earlier_file(path, whole, monkeypatch, place):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if place in ("fsync", "replace"):
        monkeypatch.setattr(os, place, full)
    else:
        real = open

        def opened(*args, **options):
            file = real(*args, **options)

            class Full:
                def __enter__(self):
                    return self

                def __exit__(self, *error):
                    file.close()

                def __getattr__(self, name):
                    return full if name == place else getattr(file, name)

            return Full()

        monkeypatch.setattr("builtins.open", opened)
    end = r" \([\d,]+ bytes\): No space left on device; the earlier file is unchanged\Z"
    with pytest.raises(OSError, match=r"\A\[Errno \d+\] cannot write " + re.escape(str(path)) + end) as caught:
        LAYER.init(seed=2).save(path)
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == whole
    assert leftovers(path.parent) == []


def test_a_full_disk_where_no_file_was(path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match=r"bytes\): No space left on device$"):
        LAYER.init(seed=2).save(path)
    assert list(path.parent.iterdir()) == []


LIMITED = """
import resource, signal, sys
import elman
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model = elman.LSTM(30, 40).init(seed=2)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    model.save(sys.argv[1])
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs limits of POSIX")
def test_a_file_larger_than_allowed(path, whole):
    command = [sys.executable, "-c", LIMITED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cannot write" in done.stdout
    assert done.stdout.rstrip().endswith("File too large; the earlier file is unchanged")
    assert path.read_bytes() == whole
    assert leftovers(path.parent) == []


def test_an_interrupt_while_writing(path, whole, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        LAYER.init(seed=2).save(path)
    assert path.read_bytes() == whole
    assert leftovers(path.parent) == []


def test_places_where_no_file_can_be(tmp_path):
    model = elman.Linear(1, 1).init()
    (tmp_path / "file").write_text("a file, not a folder")
    (tmp_path / "folder.elman").mkdir()
    for place in ("none/m.elman", "file/m.elman", "folder.elman", "a" * 250 + ".elman"):
        with pytest.raises(OSError, match=r"cannot write .*bytes"):
            model.save(tmp_path / place)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "folder.elman"]


def test_many_threads_writing_one_file(path):
    models = [elman.RNN(3, 4).init(seed=seed) for seed in range(4)]
    problems = []

    def write(model):
        try:
            for _ in range(5):
                model.save(path)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert any((elman.load(path).params.flat == model.params.flat).all() for model in models)
    assert leftovers(path.parent) == []


def test_arrays_of_any_layout_come_back_as_they_were(path):
    arrays = {
        "a/fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "a/strided": np.arange(12)[::3],
        "a/reversed": np.arange(4, dtype=np.int16)[::-1],
        "a/scalar": np.array(3.5),
        "a/empty": np.zeros((2, 0)),
        "a/bool": np.array([True, False]),
        "a/half": np.array([1.5], np.float16),
    }
    storage.write(path, arrays, {"k": 1})
    tensors, about = storage.read(path)
    assert about == {"format": 1, "k": 1}
    assert_same({k: tensors[k] for k in sorted(tensors)}, {k: arrays[k].copy("C") for k in sorted(arrays)})


def test_a_link_stays_a_link_and_the_file_it_names_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "m.elman", tmp_path / "m.elman"
    link.symlink_to(target)
    elman.Linear(2, 3).init().save(link)
    assert link.is_symlink()
    assert target.exists()
    elman.Linear(2, 3).init(seed=1).save(link)
    assert link.is_symlink()
    assert elman.load(target).params == elman.Linear(2, 3).init(seed=1).params
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["m.elman", "m.elman", "there"]
