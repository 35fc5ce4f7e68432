"""HDF5 files, read with numpy alone, and written."""

from xlm_core.containers.hdf5.reading import Group, read_hdf5
from xlm_core.containers.hdf5.writing import write_hdf5

__all__ = ["Group", "read_hdf5", "write_hdf5"]
