"""The SQL of the database kit itself."""
