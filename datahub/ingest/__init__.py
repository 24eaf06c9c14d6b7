"""From what a source delivered to what is stored: checks, quarantine, merge, and the ledger of what is known."""
