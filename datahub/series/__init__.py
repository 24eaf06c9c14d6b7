"""Series: one provider's symbol at one interval, and what is known of it."""
