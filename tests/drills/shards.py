"""The data of the drills of training: shards of drawn pictures with names at two ranks, and a teacher's embeddings."""

from pathlib import Path

GENERA = 6


def ground(work: Path) -> Path:
    """Shards of drawn pictures with a validation split, made once for all drills of a folder."""
    from herbray.benchmark.contests.shards import write_shards

    folder = work / "shards"
    if not folder.exists():
        write_shards(folder, 32 * 8, 40, 1, genera=GENERA, validation=32 * 4)
        write_lineage(folder)
    return folder


def write_lineage(folder: Path) -> None:
    """As labels.rank=all has it: the last two names are families of two genera each."""
    import pyarrow as pa

    from herbray import schema, tables

    names = [f"Planta{number:03d}" for number in range(GENERA)]
    genera, families = names[:-2], names[-2:]
    rows = [{"label": name, "family": families[n % 2], "genus": name} for n, name in enumerate(genera)]
    rows += [{"label": name, "family": name} for name in families]
    tables.write(folder / "lineage.parquet", pa.Table.from_pylist(rows, schema=schema.LINEAGE))


def teacher(work: Path) -> Path:
    """Embeddings of an untrained encoder, made once for all drills of a folder."""
    from herbray.flow.embedding.job import embed
    from herbray.flow.embedding.specification import Embed
    from herbray.model.encoder import EncoderSpec

    start = EncoderSpec(arch="mobilenet_v3_small", size=32)
    place = {"shards": ground(work), "out": work / "teacher", "store": work, "actors": 0}
    return embed(Embed(model="start", start=start, seed=7, splits=("train", "validation"), **place))
