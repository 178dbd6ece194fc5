"""The jobs that herbarium staff have, run on frozen embeddings. A new task is one file and one line in `TASKS`."""

from typing import Annotated, Final

from pydantic import Field

from herbray.tasks.base import Embeddings, Score, TaskSpec, UnscorableError, to_table
from herbray.tasks.discriminate import Discriminate
from herbray.tasks.identify import Identify
from herbray.tasks.mislabel import Mislabel

TASKS: Final[dict[str, type[TaskSpec]]] = {
    "identify": Identify,
    "discriminate": Discriminate,
    "mislabel": Mislabel,
}
"""Every task by its name."""

AnyTask = Annotated[Identify | Discriminate | Mislabel, Field(discriminator="name")]
"""The settings of one of `TASKS`, told apart by `name`."""

__all__ = ["TASKS", "AnyTask", "Embeddings", "Score", "TaskSpec", "UnscorableError", "to_table"]
