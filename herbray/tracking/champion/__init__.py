"""Promotion: which registered version is the champion."""
