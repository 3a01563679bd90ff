"""The API: every service's operations over HTTP, live calls, archives and the OpenAPI document.

Keeps nothing: each answer comes from an ask over the bus, and what a token allows from identity's projection.
"""
