"""`herbray plan`: what each verb will read, write, need and take on a cluster, from measured rates."""
