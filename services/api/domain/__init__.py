"""What the API decides without I/O: how a request becomes an ask, how a call is shown, what the OpenAPI
document says."""
