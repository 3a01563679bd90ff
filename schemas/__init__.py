"""The contracts of the services: one module each. Plain typed data; imports `bus.message` only."""
