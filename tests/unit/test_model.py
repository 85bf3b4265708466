"""Model: binding, copying, saving and loading. Damaged files are in test_storage."""

import json

import numpy as np
import pytest

import elman
from elman.model import build, describe, load_all
from tolerances import assert_same

LAYER = elman.Sequential(elman.Embedding(5, 2), elman.LSTM(2, 3, forget_bias=2.0), elman.Linear(3, 4))


def test_params_must_fit_the_layer():
    with pytest.raises(ValueError, match=r"Model: params do not have the shapes of LSTM\(input_size=2"):
        elman.Model(elman.LSTM(2, 3), elman.GRU(2, 3).init().params)


def test_writing_into_the_params_changes_the_model():
    model = elman.Linear(2, 1).init()
    model.params["weight"][:] = [[3, 4]]
    model.params["bias"] = 5
    assert model([[1, 1]]).y.tolist() == [[12]]


def test_copies_and_other_types():
    model = LAYER.init(seed=1)
    other = model.copy()
    double = model.astype("float64")
    model.params.flat[:] = 0
    assert other.params.flat.any()
    assert double.params.dtype == np.float64
    assert double(np.array([[1, 2]])).y.dtype == np.float64
    assert double.zero_state(2)[1].h.dtype == np.float64
    assert double.layer is model.layer


def test_a_model_has_no_place_for_a_state():
    with pytest.raises(AttributeError):
        LAYER.init().state = 1


def test_save_and_load_by_string_and_path(tmp_path):
    model = LAYER.init(seed=1)
    for path in (tmp_path / "m.elman", str(tmp_path / "n.elman")):
        model.save(path)
        loaded = elman.load(path)
        assert loaded.layer == LAYER
        assert_same(loaded.params, model.params)
    loaded.params.flat[:] = 0  # its own memory, which can be written to
    assert_same(elman.load(path).params, model.params)


def test_what_is_kept_beside_the_model(tmp_path):
    path = tmp_path / "m.elman"
    tensors = {"scaler/mean": np.arange(3.0), "training/step": np.array(7), "empty/e": np.zeros((0, 2), np.int8)}
    about = {"vocabulary": ["a", "é", "汉", "\n", ""], "nested": {"k": [1, 2.5, None, True]}}
    LAYER.init(seed=1).save(path, about=about, tensors=tensors)
    model, found, further = load_all(path)
    assert_same(model.params, LAYER.init(seed=1).params)
    assert {name: found[name] for name in about} == about
    assert found["version"] == elman.__version__
    assert found["format"] == 1
    assert further.keys() == tensors.keys()
    for name, array in tensors.items():
        assert_same(further[name], array)
    assert_same(elman.load(path).params, model.params)


def test_names_of_further_tensors_need_a_slash(tmp_path):
    with pytest.raises(ValueError, match="names of further tensors need a slash, such as 'training/moment'"):
        LAYER.init().save(tmp_path / "m.elman", tensors={"moment": np.zeros(3)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["layer", "format", "version", "dtype"])
def test_what_the_file_uses_itself_cannot_be_replaced(tmp_path, name):
    with pytest.raises(ValueError, match=f"Model.save: about must not hold {name}: the file has its own"):
        LAYER.init().save(tmp_path / "m.elman", about={name: 1})
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_json_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "m.elman"
    LAYER.init(seed=1).save(path)
    before = path.read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        LAYER.init(seed=2).save(path, about={"array": np.zeros(2)})
    assert path.read_bytes() == before


def test_numbers_that_are_not_finite_survive(tmp_path):
    model = LAYER.init()
    model.params.flat[:4] = [np.nan, np.inf, -np.inf, -0.0]
    model.save(tmp_path / "m.elman")
    assert_same(elman.load(tmp_path / "m.elman").params, model.params)


def test_sizes_and_options_out_of_arrays_are_saved_as_numbers(tmp_path):
    layer = elman.Sequential(
        elman.Embedding(np.array([3, 4]).max(), np.int32(2)),
        elman.LSTM(2, np.uint8(3), forget_bias=np.float32(0.5), bias=np.bool_(True)),
    )
    layer.init().save(tmp_path / "m.elman")
    loaded = elman.load(tmp_path / "m.elman")
    assert loaded.layer == layer
    assert repr(loaded.layer) == repr(layer)


def test_description_is_plain_json_and_back():
    described = describe(LAYER)
    assert build(json.loads(json.dumps(described))) == LAYER
    assert described["kind"] == "Sequential"
    assert described["layers"][1]["forget_bias"] == 2.0


def test_files_do_not_depend_on_anything_but_the_model(tmp_path):
    paths = [tmp_path / "a.elman", tmp_path / "b.elman"]
    for path in paths:
        LAYER.init(seed=1).save(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_repr_of_a_model_names_the_layer_and_its_parameters():
    text = repr(elman.Linear(2, 3).init())
    assert text.splitlines()[0] == "Model of Linear(input_size=2, output_size=3)"
    assert "weight (3, 2)" in text


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.elman"):
        elman.load(tmp_path / "none.elman")
