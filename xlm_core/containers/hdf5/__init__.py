"""HDF5 files, read with numpy alone, and written."""
