"""The traffic gateway against mitmdump and a bare proxy that captures nothing: same upstream, same load."""
