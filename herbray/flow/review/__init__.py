"""The review page of doubtful sheets, and the server that saves verdicts."""
