"""The bus against its peers: one publishing and one consuming process each, the same events, the same
broker."""
