"""The embed benchmark: the embed job's worker, from JPEG shards to vectors, against bare loops on decoded tensors."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow.parquet as pq
import torch
from pydantic import Field

from herbray import __version__
from herbray.benchmark.contests.shards import write_shards
from herbray.benchmark.harness.race import Case, Contender
from herbray.benchmark.harness.spec import BenchmarkSpec, Promise, Target
from herbray.data.imaging import images
from herbray.flow.embedding.embedder import Embedder
from herbray.model.augment import prepare_images
from herbray.model.encoder import Encoder, EncoderSpec, build_encoder
from herbray.model.encoder_card import EncoderCard, save_encoder
from herbray.model.portable import DEFAULT_ARCHITECTURE, find_architecture

_OURS, _READY = "herbray", "herbray: decoded tensors, forward alone"
_PLAIN, _LAST = "bare eager loop, NCHW", "bare eager loop, channels-last"
_TOLERANCE: Final = {"cpu": 1e-4, "cuda": 5e-2}  # of the largest feature: rounding; bf16


class EmbedRate(BenchmarkSpec):
    """Each contender has one process and the same number of threads; only ours also reads, decodes and writes.

    On a GPU the bare loops compute in bf16, as ours does, and all wait for the device at the end of a lap.
    """

    name: Literal["embed"] = "embed"
    sizes: tuple[int, ...] = Field((64, 128), min_length=1, description="pixels, one case each")
    arch: str = Field(DEFAULT_ARCHITECTURE, description="architecture of the encoder")
    images: int = Field(
        384, ge=32, description="images per lap at the smallest size; fewer at larger sizes, which cost more"
    )
    batch: int | None = Field(None, ge=1, description="images per batch; None: as in the embed job on this device")
    threads: int = Field(1, ge=1, description="threads that compute on a CPU, or decode for a GPU")

    def cases(self, work: Path) -> Iterator[Case]:
        """One case per size; the vectors of all contenders are compared first."""
        for size in self.sizes:
            folder = work / f"encoder-{size}"
            encoder = draw_encoder(folder, size, self.seed, self.arch)
            shard = write_shards(work / f"shards-{size}", self._images(size), size, self.seed)
            yield self._case(
                size, Embedder(folder, size, self.threads, self.batch), encoder, shard, work / "out.parquet"
            )

    def targets(self) -> Sequence[Promise]:
        """On a CPU, faster than the bare loop; on a GPU, nearly as fast as the forward pass alone."""
        if torch.cuda.is_available():
            return [Target(self._name(size), _OURS, _READY, "rate", 0.9) for size in self.sizes]
        return [Target(self._name(size), _OURS, _PLAIN, "cpu_ms", 1.3) for size in self.sizes]

    def _name(self, size: int) -> str:
        return f"{size} px" if self.arch == DEFAULT_ARCHITECTURE else f"{find_architecture(self.arch).title}, {size} px"

    def _images(self, size: int) -> int:
        return max(64, self.images * min(self.sizes) ** 2 // size**2)

    def _case(self, size: int, ours: Embedder, encoder: Encoder, shard: Path, out: Path) -> Case:
        jpegs = pq.read_table(shard, columns=["jpeg"])["jpeg"].to_pylist()
        pixels = torch.from_numpy(images.decode_squares(jpegs, size)).to(ours.device)
        batches = torch.split(pixels, ours.batch)
        last = build_encoder(EncoderSpec(arch=self.arch, size=size), 0).eval().to(ours.device)
        last.load_state_dict(encoder.state_dict())
        plain = encoder.eval().to(ours.device)
        loops: dict[str, Callable[[], torch.Tensor]] = {
            _READY: lambda: torch.cat([ours.embed(part) for part in batches]),
            _PLAIN: lambda: _loop(plain, batches, torch.contiguous_format),
            _LAST: lambda: _loop(last.to(memory_format=torch.channels_last), batches, torch.channels_last),
        }
        contenders = [
            Contender(_OURS, lambda: ours.embed_file(shard, "train", out)),
            *(Contender(name, _count_rows(loop)) for name, loop in loops.items()),
        ]
        return Case(self._name(size), "images", contenders, lambda: _check_same(ours, jpegs, loops), least_s=0.5)


def draw_encoder(folder: Path, size: int, seed: int, arch: str = DEFAULT_ARCHITECTURE) -> Encoder:
    """Save an encoder with random weights, in evaluation mode, and return it."""
    encoder = build_encoder(EncoderSpec(arch=arch, size=size), seed)
    with torch.no_grad():  # changes the running statistics, so that folding the norms is tested
        encoder(torch.rand(16, 3, size, size, generator=torch.Generator().manual_seed(seed)))
    save_encoder(folder, encoder.eval(), _card(encoder, seed))
    return encoder


def _card(encoder: Encoder, seed: int) -> EncoderCard:
    same = {key: getattr(encoder, key) for key in ("arch", "stem", "normalise", "size", "dim")}
    return EncoderCard(**same, classes=(), objective="none", init="random", seed=seed, herbray=__version__)


@torch.inference_mode()
def _loop(encoder: Encoder, batches: Sequence[torch.Tensor], layout: torch.memory_format) -> torch.Tensor:
    kind = batches[0].device.type
    with torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
        parts = [
            encoder(prepare_images(part, encoder.size).contiguous(memory_format=layout)).float() for part in batches
        ]
    return torch.cat(parts)


def _count_rows(loop: Callable[[], torch.Tensor]) -> Callable[[], int]:
    """A contender that counts the vectors; copying them to the CPU waits for the device."""
    return lambda: len(loop().cpu())


def _check_same(ours: Embedder, jpegs: Sequence[Any], loops: dict[str, Callable[[], torch.Tensor]]) -> None:
    """Raise ValueError if a contender's vectors differ from ours."""
    mine = ours.features(jpegs)
    for name, loop in loops.items():
        gap = float(np.abs(loop().cpu().numpy() - mine).max() / np.abs(mine).max())
        if gap > _TOLERANCE[ours.device.type]:
            raise ValueError(f"{name} differs from herbray by {gap:.2g} of the largest feature")
