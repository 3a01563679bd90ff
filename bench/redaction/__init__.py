"""What redaction costs a call, beside the way it could be done: one expression after the other."""
