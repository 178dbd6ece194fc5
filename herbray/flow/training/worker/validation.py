"""Validation during training, the same for all objectives: k-NN accuracy of validation features, and the loss."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from herbray.data.planning.validation import ValidationSample
from herbray.flow.input.batches import decoding_threads
from herbray.flow.input.prefetch import allocate_pageable, allocate_pinned, prefetch
from herbray.flow.input.to_device import batches_on_device
from herbray.flow.input.window_reader import Batch, Draft, Pixels, paint_jpegs
from herbray.flow.shards.specimens import read_jpegs
from herbray.flow.training.specification import Train
from herbray.flow.training.teacher import Vectors
from herbray.flow.training.world import World
from herbray.model.augment import prepare_images
from herbray.model.learner import Learner
from herbray.model.metrics import knn_accuracy, standard_error

Jpegs = dict[int, bytes]
"""JPEGs by row of the sample."""


class Validator:
    """Validates the learner of a run, on one rank.

    The ranks share the batches of the sample. Each reads the JPEGs of its share once, during the first steps, and keeps
    them until the run ends. Each validation decodes them ahead of use while the device embeds the previous batch.
    """

    def __init__(
        self, spec: Train, sample: ValidationSample, side: int, world: World, targets: Vectors | None = None
    ) -> None:
        """Start reading.

        Args:
            spec: of the job.
            sample: what is validated on.
            side: of the shards' images, in pixels.
            world: this worker's place.
            targets: the teacher's embeddings of the sample, for distillation alone.
        """
        self.spec, self.sample, self.side, self.world, self.targets = spec, sample, side, world, targets
        self.mine = range(world.rank, len(sample.batches), world.size)
        self._reading = _start_reading(lambda: _read(spec.shards, sample, self.mine))

    def figures(self, learner: Learner) -> dict[str, float]:
        """Validate the learner as it is now; called on every rank, which all return the same.

        A specimen counts once, and its neighbours come from other gatherings: a duplicate would be recognised by its
        press and its label. The figures depend on the sample and the learner, not on the number of ranks.

        Returns:
            `val_knn` and its standard error `val_knn_error`, unless the sample has an obstacle (see
            `ValidationSample`), and `val_loss`, the objective's mean over the batches.

        Raises:
            FloatingPointError: the loss is not finite.
            ValueError: a feature is not finite; or a shard was changed or damaged.
        """
        if self.world.size > 1:  # ranks saw different batches: validate the statistics that the checkpoint will hold
            for buffer in learner.buffers():
                dist.broadcast(buffer, 0)
        features, losses = self._all_ranks(*self._embedded(learner.evaluated))
        found = {"val_loss": float(losses.double().mean())}
        if not math.isfinite(found["val_loss"]):
            raise FloatingPointError(f"the validation loss is {found['val_loss']}: lower optimizer.lr")
        if self.sample.obstacle:
            return found
        accuracy = self._knn(features)
        gatherings = len(np.unique(self.sample.gatherings))  # specimens of one gathering are not independent
        return {"val_knn": accuracy, "val_knn_error": standard_error(accuracy, gatherings)} | found

    @torch.no_grad()
    def _embedded(self, learner: Learner) -> tuple[Tensor, Tensor]:
        """Features [batches, batch, d] and losses [batches] of this rank's batches. Waits for the device once."""
        learner.eval()
        features, losses = [], []
        for batch, number in zip(batches_on_device(self._batches(), self.world.device), self.mine, strict=True):
            torch.manual_seed(number)  # an objective may draw pairs
            images = prepare_images(batch.images, self.spec.encoder.size)
            found = learner.encoder(images.contiguous(memory_format=torch.channels_last))
            targets = None if self.targets is None else torch.from_numpy(self.targets[batch.rows]).to(found.device)
            losses.append(learner.compute_loss(found, images, batch.labels, targets)["loss"].float())
            features.append(found.float())
        if not self.mine:
            return torch.empty(0, 0, 0), torch.empty(0)
        return torch.stack(features).cpu(), torch.stack(losses).cpu()

    def _all_ranks(self, features: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
        """Features and losses of all ranks, in the order of the batches."""
        if self.world.size == 1:
            return features, losses
        parts: list[tuple[Tensor, Tensor]] = [(features, losses)] * self.world.size
        dist.all_gather_object(parts, (features, losses))
        return _interleaved([each for each, _ in parts]), _interleaved([each for _, each in parts])

    def _knn(self, features: Tensor) -> float:
        """k-NN accuracy of the whole sample; a row that is in several batches counts at its first place."""
        first = torch.from_numpy(np.unique(self.sample.batches, return_index=True)[1])
        rows = features.flatten(0, 1)[first].to(self.world.device)
        kinds, gatherings = torch.from_numpy(self.sample.kinds), torch.from_numpy(self.sample.gatherings)
        return knn_accuracy(rows, kinds, self.spec.neighbours, units=gatherings)

    def _batches(self) -> Iterator[Batch]:
        allocate = allocate_pinned if self.world.device.type == "cuda" else allocate_pageable
        threads = decoding_threads(self.spec.loader, self.world.local_size)
        return prefetch(self._drafts(), self.side, threads, self.spec.loader.ahead, allocate)

    def _drafts(self) -> Generator[Draft, None, None]:
        jpegs = self._reading.result()
        for number in self.mine:
            rows = self.sample.batches[number]
            fill = _filling([jpegs[row] for row in rows.tolist()], self.side)
            yield Draft(self.sample.labels[rows], rows, number, True, fill)


def _start_reading(read: Callable[[], Jpegs]) -> Future[Jpegs]:
    """The future result of `read`, which a thread starts at once."""
    pool = ThreadPoolExecutor(1, "validation")
    reading = pool.submit(read)
    pool.shutdown(wait=False)
    return reading


def _read(shards: Path, sample: ValidationSample, batches: Iterable[int]) -> Jpegs:
    rows = np.unique(sample.batches[[*batches]])
    return dict(zip(rows.tolist(), read_jpegs(shards, sample.specimens.take(rows)), strict=True))


def _filling(jpegs: list[bytes], side: int) -> Callable[[int, int, Pixels], None]:
    """The function that fills a draft with decoded centre squares."""

    def fill(start: int, stop: int, out: Pixels) -> None:
        paint_jpegs(jpegs[start:stop], side, None, out[start:stop])

    return fill


def _interleaved(shares: list[Tensor]) -> Tensor:
    """Entry n of rank r is entry r + n · ranks of the whole."""
    whole = torch.empty(sum(map(len, shares)), *shares[0].shape[1:])
    for rank, share in enumerate(shares):
        if len(share):
            whole[rank :: len(shares)] = share
    return whole
