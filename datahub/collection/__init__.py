"""Collection: what is to be fetched, when it is due, and the runs that fetch it."""
