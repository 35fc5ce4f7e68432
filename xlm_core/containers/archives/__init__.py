"""Zip archives whose members are stored as they are: read in place, and written as streams."""

from xlm_core.containers.archives.reading import extents, members, names
from xlm_core.containers.archives.writing import write_archive

__all__ = ["extents", "members", "names", "write_archive"]
