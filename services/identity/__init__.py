"""Decides who may do what: teams, people, buckets and tokens, each a stream of decisions in the vault's log;
and tells who changed what.

Keeps only a projection (in memory, with a snapshot on disk): everything it knows is in the log.
"""
