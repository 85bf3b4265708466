"""A series: airline passengers a year ahead, with intervals that hold what they promise, a picture, and live updates.

The forecaster works on logarithms, corrects the value of a year ago, and is measured beside the two naive forecasts, on
values that it has not seen. `update` then reads one value after the other, as they come.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from elman import datasets, plots
from elman.tasks.series import RecurrentForecaster, metrics

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("picture", nargs="?", default="forecast.png", help="where to draw")
parser.add_argument("--epochs", type=int, default=300)
arguments = parser.parse_args()

passengers = datasets.airline()  # (144,), monthly
months = np.datetime64("1949-01") + np.arange(144)
train, test = passengers[None, :-12], passengers[None, -12:]  # (1, 132), (1, 12): one series of one feature

model = RecurrentForecaster(
    horizon=12, season=12, baseline="seasonal", scaling="level", log=True,
    hidden_size=16, max_epochs=arguments.epochs, calibration_fraction=0.2, random_state=0,
)  # fmt: skip
start = time.perf_counter()
model.fit(train)
print(f"fitted in {time.perf_counter() - start:.1f} seconds")
print(model.report_)  # on the part of the training values that fit held out

forecast = model.predict(train)
lower, upper = model.predict_interval(train, coverage=0.8)
for name, guess in (
    ("model", forecast[0]),
    ("seasonal naive", metrics.seasonal_naive(train[0], 12, 12)),
    ("naive", metrics.naive(train[0], 12)),
):
    mase = metrics.mase(test[0], guess, train[0], season=12)
    print(f"1960, {name:15} sMAPE {metrics.smape(test[0], guess):6.2f}   MASE {mase:.3f}")
print(f"{metrics.coverage(test, lower, upper):.0%} of 1960 lie inside of the 80 % interval")

plots.plot_forecasts(
    months[:-12], train.T, months[-12:], forecast.T, lower.T, upper.T, arguments.picture,
    names=["thousand passengers"], actual=test.T,
)  # fmt: skip
print(f"drew {arguments.picture}")

# Live: the state of each series is a row of a few flat arrays; a value moves it on.
model.start(["airline"], train)
errors = []
for value in test[0]:
    errors.append(abs(model.forecast("airline")[0, 0] - value))
    model.update("airline", value)
print(f"one step ahead, month after month: mean error {np.mean(errors):.1f} thousand")
