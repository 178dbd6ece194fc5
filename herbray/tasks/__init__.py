"""The tasks of herbarium staff, run on frozen embeddings. A new task is one file and one line in `TASKS`."""

from typing import Annotated, Final

from pydantic import Field

from herbray.tasks.discriminate import Discriminate
from herbray.tasks.identify import Identify
from herbray.tasks.interface.base import TaskSpec
from herbray.tasks.interface.embeddings import Embeddings, UnscorableError
from herbray.tasks.interface.outcomes import Measurement, Outcome, Score, to_outcome_table, to_result_table
from herbray.tasks.leakage import Leakage
from herbray.tasks.methods.scorable import (
    LeftOut,
    ScorableTasks,
    add_rank,
    describe_left_out,
    select_scorable,
    to_left_out_table,
)
from herbray.tasks.mislabel import Mislabel
from herbray.tasks.noise import Noise
from herbray.tasks.planted import Planted
from herbray.tasks.retrieval import Retrieval
from herbray.tasks.silhouette import Silhouette
from herbray.tasks.transfer import Transfer

TASKS: Final[dict[str, type[TaskSpec]]] = {
    "identify": Identify,
    "discriminate": Discriminate,
    "mislabel": Mislabel,
    "noise": Noise,
    "planted": Planted,
    "retrieval": Retrieval,
    "silhouette": Silhouette,
    "transfer": Transfer,
    "leakage": Leakage,
}
"""Every task by name: the three of the paper, then those that herbray adds."""

AnyTask = Annotated[
    Identify | Discriminate | Mislabel | Noise | Planted | Retrieval | Silhouette | Transfer | Leakage,
    Field(discriminator="name"),
]
"""The settings of any task; `name` says which task."""

__all__ = [
    "TASKS",
    "AnyTask",
    "Embeddings",
    "LeftOut",
    "Measurement",
    "Outcome",
    "ScorableTasks",
    "Score",
    "TaskSpec",
    "UnscorableError",
    "add_rank",
    "describe_left_out",
    "select_scorable",
    "to_left_out_table",
    "to_outcome_table",
    "to_result_table",
]
