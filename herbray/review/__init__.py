"""The review page: doubtful sheets beside similar ones, for curators to judge. Plain HTML, CSS and JavaScript."""
