"""The Ray cluster: the connection to it, the cluster of a laptop, and places for processes on its nodes."""
