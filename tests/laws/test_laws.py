"""Every law, for every layer of the zoo, both types, full and ragged batches, and every twin of the kernels."""

import pytest

import elman
import zoo
from laws.laws import CAUSAL_ONLY, FLOAT64_ONLY, LAWS, ONE_LENGTH


def cases():
    for twin in zoo.TWINS:
        for law in LAWS:
            for name, make in zoo.ZOO.items():
                if law in CAUSAL_ONLY and not make().is_causal:
                    continue
                for dtype in ("float64",) if law in FLOAT64_ONLY else zoo.DTYPES:
                    for lengths in ("ragged",) if law in ONE_LENGTH else zoo.LENGTHS:
                        yield pytest.param(twin, law, name, dtype, lengths, id=f"{law}-{name}-{dtype}-{lengths}-{twin}")


@pytest.mark.parametrize(("twin", "law", "name", "dtype", "lengths"), list(cases()))
def test_law(twin, law, name, dtype, lengths):
    with elman.use_kernels(twin):
        LAWS[law](zoo.ZOO[name](), dtype, zoo.LENGTHS[lengths])


def test_every_kind_of_layer_is_in_the_zoo():
    def kinds(layer):
        return {type(layer)}.union(*map(kinds, layer.children().values()))

    inside = set().union(*(kinds(make()) for make in zoo.ZOO.values()))
    inside |= {type(make()) for make in zoo.ZOO.values()}
    assert set(elman.layers.KINDS.values()) <= inside | {elman.EncoderDecoder}  # whose laws are in test_pairs.py


def test_random_parameters_are_distinct_and_not_zero():
    for make in zoo.ZOO.values():
        flat = zoo.random_params(make()).flat
        assert len(set(flat)) == flat.size
        assert (abs(flat) >= 0.1).all()
