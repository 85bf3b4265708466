"""Batches of utterances, varied anew each epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elman import checks
from elman.ctc import frames_needed
from elman.params import Array
from elman.sequences import Batch, Batches, pad
from elman.tasks.speech.augment import Augment
from elman.tasks.speech.front import FrontEnd


class Utterances(Batches):
    """Utterances in batches of like length, shuffled and varied anew each epoch; a function of the step number alone.

    Parameters
    ----------
    front : FrontEnd
    raw : raw features (T_i, F) of each utterance
    targets : labels (S_i,) of each
    batch_size : B; the last batch of an epoch may be smaller
    augment : how they are varied
    normals : mean and deviation for each utterance, or None for its own
    seed : of the shuffling and of the variations

    An utterance that, at a higher speed, has too few steps for its target, is taken as it is.
    """

    def __init__(
        self,
        front: FrontEnd,
        raw: Sequence[Array],
        targets: Sequence[Array],
        batch_size: int,
        *,
        augment: Augment | None = None,
        normals: Sequence[tuple[Array, Array] | None] | None = None,
        seed: int = 0,
        n_epochs: int | None = None,
    ) -> None:
        checks.positive("Utterances", batch_size=batch_size)
        if len(raw) != len(targets) or not len(raw):
            raise ValueError(f"Utterances: needs a target for each utterance, got {len(targets)} for {len(raw)}")
        self.front, self.raw, self.targets = front, list(raw), list(targets)
        self.augment, self.normals, self.seed, self.batch_size = augment, normals, seed, batch_size
        self.n_in_epoch = -(-len(raw) // batch_size)
        self.n_batches = None if n_epochs is None else n_epochs * self.n_in_epoch
        self._lengths = np.array([len(x) for x in raw])

    def batch(self, step: int) -> Batch:  # noqa: D102
        epoch, k = divmod(step, self.n_in_epoch)
        rows = self._order(epoch)[k]
        steps = [self._steps(row, epoch) for row in rows]
        x, lengths = pad(steps, np.float32, (self.front.size,))
        return Batch(x, [self.targets[row] for row in rows], lengths)

    def _steps(self, row: int, epoch: int) -> Array:
        speaker = None if self.normals is None else self.normals[row]
        rng = np.random.default_rng([self.seed, epoch, row])
        steps = self.front.steps(self.raw[row], speaker=speaker, augment=self.augment, rng=rng)
        if len(steps) < frames_needed(self.targets[row]):
            steps = self.front.steps(self.raw[row], speaker=speaker)
        return steps

    def _order(self, epoch: int) -> list[Array]:
        """Sort by length with some noise, cut into batches, shuffle these."""
        rng = np.random.default_rng([self.seed, epoch])
        order = np.argsort(self._lengths * rng.uniform(0.9, 1.1, len(self._lengths)))
        batches = [order[k : k + self.batch_size] for k in range(0, len(order), self.batch_size)]
        return [batches[k] for k in rng.permutation(len(batches))]
