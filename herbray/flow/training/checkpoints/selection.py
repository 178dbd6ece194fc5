"""Which checkpoint becomes the encoder."""

from collections.abc import Mapping, Sequence
from typing import Literal

Keep = Literal["best", "last"]


def rank_checkpoints(figures: Sequence[Mapping[str, float]], keep: Keep) -> list[int]:
    """Order checkpoints by their validation, the chosen one last.

    `last` chooses the last checkpoint. `best` chooses the last one whose score is at most one standard error below the
    highest (Breiman et al. 1984, Classification and Regression Trees, the 1-SE rule): on a small validation split, the
    epoch with the highest score is one with luck. Without a standard error, `best` chooses the highest score, the later
    of equals.

    Args:
        figures: of each checkpoint at an epoch's end, in the order of training.
        keep: the rule.

    Returns:
        Positions in `figures`. If any checkpoint has `val_knn`, only those that have it.
    """
    places = [place for place, each in enumerate(figures) if "val_knn" in each] or [*range(len(figures))]
    if keep == "last" or not places:
        return places
    ranked = sorted(places, key=lambda place: checkpoint_score(figures[place]))
    highest = figures[ranked[-1]]
    least = checkpoint_score(highest) - highest.get("val_knn_error", 0.0)
    # The sort is stable: worse checkpoints keep their order by score, before those that are as good as the highest.
    return sorted(ranked, key=lambda place: place if checkpoint_score(figures[place]) >= least else -1)


def checkpoint_score(figures: Mapping[str, float]) -> float:
    """How good a checkpoint is, higher is better: its k-NN accuracy or, without it, its negative loss."""
    return figures.get("val_knn", -figures.get("val_loss", 0.0))
