"""Suspects and review page of one encoder in one step: how a study ends."""

from pathlib import Path

from herbray.flow.evaluation.suspects import Suspects, suspects
from herbray.flow.review.job import Review, review
from herbray.tasks.interface.embeddings import UnscorableError


def review_encoder(spec: Review, embeddings: Path, shards: Path, catalogue: Path, out: Path) -> str:
    """List the suspects among the sheets of an encoder, write the page, and return where it is, or why there is none.

    Args:
        spec: settings of the page; its folders are replaced, and it is not served.
        embeddings: folder of the encoder's embeddings.
        shards: that they were made from.
        catalogue: for the paths of the images.
        out: the page is in `review/`, the suspects in `suspects/`, and verdicts are read from `verdicts/`.
    """
    listed = Suspects(embeddings=embeddings, catalogue=catalogue, out=out / "suspects")
    try:
        suspects(listed)
    except UnscorableError as error:
        return f"no review page: {error}"
    page = {"embeddings": embeddings, "suspects": (listed.out,), "shards": shards, "verdicts": out / "verdicts"}
    return review(spec.model_copy(update={**page, "out": out / "review", "serve": False}))
