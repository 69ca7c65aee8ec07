"""Data modules: where images lie, how they are read, looked at and augmented; what is wrong with them, by name."""
