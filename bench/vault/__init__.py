"""The vault measured: ingest beside a peer, queries at two sizes, the scan of the log, the rebuild of its
read model."""
