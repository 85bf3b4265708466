"""Elman: recurrent networks on CPUs. Train a model on sequences, see why it learns or does not, and ship it."""

from elman import diagnose, losses, optim, sequences
from elman.engine import Engine, Stream
from elman.kernels import show_config, use_kernels
from elman.kernels.spec import GRUState, LSTMState, RNNState
from elman.kernels.threads import get_num_threads, set_num_threads
from elman.layers import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dropout,
    Embedding,
    EncoderDecoder,
    Layer,
    Linear,
    Pair,
    Residual,
    Sequential,
    stack,
)
from elman.model import Model, load
from elman.params import Params
from elman.sequences import Batch
from elman.train import Record, evaluate, train
from elman.version import __version__

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Batch",
    "Bidirectional",
    "Dropout",
    "Embedding",
    "EncoderDecoder",
    "Engine",
    "GRUState",
    "LSTMState",
    "Layer",
    "Linear",
    "Model",
    "Pair",
    "Params",
    "RNNState",
    "Record",
    "Residual",
    "Sequential",
    "Stream",
    "__version__",
    "diagnose",
    "evaluate",
    "get_num_threads",
    "load",
    "losses",
    "optim",
    "sequences",
    "set_num_threads",
    "show_config",
    "stack",
    "train",
    "use_kernels",
]
