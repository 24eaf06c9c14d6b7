"""Fan-out: what is published is encoded once, kept a while, and joined into the envelopes of any number of readers."""
