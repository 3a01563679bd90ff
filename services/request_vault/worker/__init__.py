"""What the vault does by itself, beside the handlers. Each module is one task, run by `service` until it is
cancelled; none is needed for events to be recorded."""
