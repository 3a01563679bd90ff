"""The SQLite engine: one file, one process, one writing thread with group commit, readers beside it."""
