"""Side-by-side measurements against peers: `make bench`, or `make bench ARGS="bus gateway"`."""
