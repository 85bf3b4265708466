"""Layers: frozen descriptions with pure methods."""

from elman.layers.base import Backward, Forward, Layer, Output, Tape
from elman.layers.compose import Bidirectional, Residual, Sequential, stack
from elman.layers.dropout import Dropout
from elman.layers.embedding import Embedding
from elman.layers.encoder_decoder import EncoderDecoder, Pair
from elman.layers.gru import GRU
from elman.layers.lexicon import Lexicon
from elman.layers.linear import Linear
from elman.layers.lstm import LSTM
from elman.layers.recurrent import Recurrent
from elman.layers.rnn import RNN

# The one table of names: how a file says which layer it holds.
KINDS: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (RNN, LSTM, GRU, Linear, Embedding, Dropout, Sequential, Bidirectional, Residual, EncoderDecoder)
}

__all__ = [
    "GRU",
    "KINDS",
    "LSTM",
    "RNN",
    "Backward",
    "Bidirectional",
    "Dropout",
    "Embedding",
    "EncoderDecoder",
    "Forward",
    "Layer",
    "Lexicon",
    "Linear",
    "Output",
    "Pair",
    "Recurrent",
    "Residual",
    "Sequential",
    "Tape",
    "stack",
]
