"""The request vault: everything that happened, kept, and every call, found again.

It records each event of the bus in an append-only log, appends the decisions of other services to that
log and publishes them from there, and keeps a read model of calls beside it. It keeps: the log and its
read model (`vault.db`, or a PostgreSQL database), and the bodies of calls (`bodies/`).
"""
