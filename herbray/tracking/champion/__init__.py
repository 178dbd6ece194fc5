"""Which registered version is the champion."""
