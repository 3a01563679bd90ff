"""The services: one folder (a room) each, the chassis they stand on, and the command line that runs them."""
