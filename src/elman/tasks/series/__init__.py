"""Time series with scikit-learn's manners: forecasting, classification, regression and anomalies.

Needs scikit-learn: ``pip install elman[series]``. ``import elman`` alone does not load it.
"""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError("series need scikit-learn, which is not installed: pip install elman[series]") from error

from elman.tasks.series import frames, metrics, nab, splits
from elman.tasks.series.detector import RecurrentDetector
from elman.tasks.series.files import load, save
from elman.tasks.series.forecaster import RecurrentForecaster, Report
from elman.tasks.series.frames import from_frame
from elman.tasks.series.inputs import Sequences
from elman.tasks.series.labelled import RecurrentClassifier, RecurrentRegressor
from elman.tasks.series.scale import score_batches
from elman.tasks.series.scaling import SequenceScaler

__all__ = [
    "RecurrentClassifier",
    "RecurrentDetector",
    "RecurrentForecaster",
    "RecurrentRegressor",
    "Report",
    "SequenceScaler",
    "Sequences",
    "frames",
    "from_frame",
    "load",
    "metrics",
    "nab",
    "save",
    "score_batches",
    "splits",
]
