"""Darwin Core: archives, portal downloads and data packages of GBIF, iDigBio and Symbiota."""

from herbray.data.sources.darwin_core.source import DarwinCore

__all__ = ["DarwinCore"]
