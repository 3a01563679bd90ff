"""What the vault does with events, bodies and asks that reach it over the bus: one class for each kind, bound
to routers in `service`."""
