"""The progress lines of a study: which stage starts, and the time since the study began."""

import time

from herbray.flow.cluster import connection


class StageLog:
    """Prints a line when a stage starts."""

    def __init__(self, quiet: bool = False) -> None:
        """Start the clock; `quiet` prints nothing."""
        self.began, self.quiet = time.monotonic(), quiet

    def start(self, stage: str, what: str) -> None:
        """Print the time since the beginning, the name of the stage and what it does."""
        if self.quiet:
            return
        seconds = int(time.monotonic() - self.began)
        clock = f"{seconds // 60}:{seconds % 60:02d}"
        connection.console.print(f"[dim]{clock}[/dim] [bold]{stage:<10}[/bold] {what}", highlight=False, soft_wrap=True)
