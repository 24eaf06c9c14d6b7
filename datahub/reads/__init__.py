"""Reading what is stored: columns for programs, rows for people, descriptions."""
