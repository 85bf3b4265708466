"""A search over networks that stops early what does not promise: Optuna, and one epoch at a time by `partial_fit`.

The task: who speaks, from the cepstra of two Japanese vowels, of any length. A third of the training part is held out
to choose by; nothing of the test part is looked at before the end.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import optuna
from sklearn.model_selection import train_test_split

from elman import datasets
from elman.tasks.series import RecurrentClassifier

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--trials", type=int, default=12)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--jobs", type=int, default=1, help="trials side by side")
arguments = parser.parse_args()

data = datasets.japanese_vowels()
numbers = np.arange(len(data.x_train))
fit, held_out = train_test_split(numbers, test_size=1 / 3, stratify=data.y_train, random_state=0)
speakers = np.unique(data.y_train)


def some(which: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Return some of the utterances and who spoke them."""
    return [data.x_train[k] for k in which], data.y_train[which]


def objective(trial: optuna.Trial) -> float:
    """Return the accuracy on the held-out utterances, or give up."""
    model = RecurrentClassifier(
        hidden_size=trial.suggest_categorical("hidden_size", [16, 32, 64]),
        bidirectional=trial.suggest_categorical("bidirectional", [False, True]),
        dropout=trial.suggest_float("dropout", 0.0, 0.6),
        learning_rate=trial.suggest_float("learning_rate", 1e-4, 3e-2, log=True),
        batch_size=16,
        random_state=0,
    )
    accuracy = 0.0
    for epoch in range(arguments.epochs):
        model.partial_fit(*some(fit), classes=speakers)
        accuracy = model.score(*some(held_out))
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return accuracy


warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(
    direction="maximize",
    sampler=optuna.samplers.TPESampler(seed=0),
    pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=2),
)
study.optimize(objective, n_trials=arguments.trials, n_jobs=arguments.jobs)

pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
print(f"{len(study.trials)} trials, {pruned} of them stopped early")
print(f"best on the held-out third: {study.best_value:.1%} with {study.best_params}")

best = RecurrentClassifier(
    **study.best_params, batch_size=16, max_epochs=2 * arguments.epochs, random_state=0
).fit(data.x_train, data.y_train)  # fmt: skip
print(f"test: {best.score(data.x_test, data.y_test):.1%} of {len(data.x_test)} utterances")
