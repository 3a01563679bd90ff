"""What the vault decides without touching anything: where an event belongs, what a call's row holds, what
a cursor says.
"""
