"""Why an image was not fetched."""

from herbray.data.refusals import make_storable


class NotFetched(Exception):
    """An image, or a file that says how to ask for it, did not come.

    Attributes:
        reason: a short stable code for the quarantine.
        is_passing: whether a later run may well succeed.
        is_trouble: whether the host is in trouble or turns us away: several in a row, and it is left alone.
        wait_s: seconds that the host asks to wait.
    """

    def __init__(
        self, reason: str, detail: str, *, passing: bool = False, trouble: bool = False, wait_s: float = 0.0
    ) -> None:
        """Store the facts in addition to the message."""
        super().__init__(make_storable(detail))  # it may quote the server
        self.reason, self.is_passing, self.is_trouble, self.wait_s = reason, passing, trouble, wait_s
