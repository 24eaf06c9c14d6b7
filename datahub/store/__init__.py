"""SQL of the DataHub, and the functions that run it on the connection they are given."""
