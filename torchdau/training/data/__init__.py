"""Data modules: how images are found, read and augmented, with errors that name broken files."""
