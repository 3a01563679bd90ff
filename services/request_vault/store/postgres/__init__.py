"""The PostgreSQL engine of the vault (asyncpg): several instances record together, one of them publishes."""
