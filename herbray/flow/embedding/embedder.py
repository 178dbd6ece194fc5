"""An encoder in memory that turns shard files into embeddings files. It does not need Ray."""

import functools
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from herbray import schema, storage, tables
from herbray.data.fingerprint import fingerprint_json
from herbray.data.imaging import images
from herbray.flow.input.prefetch import allocate_pageable, allocate_pinned, prefetch
from herbray.flow.input.to_device import choose_device
from herbray.flow.input.window_reader import Draft, Pixels, byte_views
from herbray.flow.shards.manifest import describe_remedy
from herbray.flow.training.fingerprints import encoder_fingerprint
from herbray.model.encoder_card import read_encoder
from herbray.model.inference import build_embedder

_PREFETCHED_BATCHES = 3


class Embedder:
    """Decodes on threads, embeds on the device.

    Args:
        encoder: folder of the encoder.
        side: pixels of the shards' short side.
        threads: that decode; on a CPU, also the threads of torch.
        batch: images per batch; None: 512 on a GPU, 64 on a CPU.
        device: to embed on; None: a GPU if this process sees one.

    Attributes:
        dim: length of an embedding.
        fingerprint: of the encoder.
    """

    def __init__(
        self,
        encoder: Path,
        side: int,
        threads: int = 1,
        batch: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        """Read the encoder."""
        self.device = device or choose_device("auto")
        on_gpu = self.device.type == "cuda"
        if not on_gpu:
            torch.set_num_threads(threads)
        module, card = read_encoder(storage.fetch_folder(encoder))
        self.dim, self.fingerprint = module.dim, encoder_fingerprint(encoder, card)
        self.embed = build_embedder(module, self.device)
        self.side, self.threads, self.batch = side, threads, batch or (512 if on_gpu else 64)
        self.allocate = allocate_pinned if on_gpu else allocate_pageable

    def embed_file(self, source: Path, split: str, target: Path) -> int:
        """Embed one shard file and return its number of rows.

        Raises:
            ValueError: a file or image is damaged, or the encoder gives values that are not finite.
            OSError: the disk is full.
        """
        file = tables.TableFile(source, describe_remedy(source.parents[1]), memory_map=True)
        table = file.read([*schema.SPECIMEN.names, "jpeg"])
        features = self.features(byte_views(table["jpeg"]))
        if not np.isfinite(features).all():
            raise ValueError(
                f"{storage.show(source)}: the encoder gives values that are not finite; it cannot be used, choose "
                "another version"
            )
        out = table.drop_columns(["jpeg"]).append_column("split", pa.array([split] * table.num_rows, pa.string()))
        flat = pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), self.dim)
        out = out.append_column("embedding", flat).cast(schema.embedding_schema(self.dim))
        tables.write(target, out, {"encoder": self.fingerprint, "source": source_fingerprint(source)})
        return len(features)

    def features(self, jpegs: Sequence[Any]) -> npt.NDArray[np.float32]:
        """Features of JPEGs, in order: Float32 [n, dim]. Waits for the device only once, at the end."""
        parts = [
            self.embed(torch.from_numpy(batch.images).to(self.device, non_blocking=True))
            for batch in prefetch(self._drafts(jpegs), self.side, self.threads, _PREFETCHED_BATCHES, self.allocate)
        ]
        joined: npt.NDArray[np.float32] = torch.cat(parts).cpu().numpy() if parts else np.empty((0, self.dim), "f4")
        return joined

    def _drafts(self, jpegs: Sequence[Any]) -> Generator[Draft, None, None]:
        for start in range(0, len(jpegs), self.batch):
            rows = np.arange(start, min(start + self.batch, len(jpegs)))
            fill = functools.partial(_fill_rows, jpegs[start : start + self.batch], self.side)
            yield Draft(np.full(len(rows), -1), rows, 0, rows[-1] + 1 == len(jpegs), fill)


def source_fingerprint(file: Path) -> str:
    """Fingerprint of a shard file's content, from its footer: the fingerprint of its plan and the refused specimens.

    Raises:
        DamagedFile: the file is damaged or missing.
        OSError: the file cannot be read.
    """
    shard = tables.TableFile(file, describe_remedy(file.parents[1]))
    refused = sorted(row["specimen_id"] for row in shard.note.get("refused", ()))
    return fingerprint_json(shard.note.get("fingerprint"), refused, shard.rows)


def _fill_rows(jpegs: Sequence[Any], side: int, start: int, stop: int, out: Pixels) -> None:
    out[start:stop] = images.decode_squares(jpegs[start:stop], side)
