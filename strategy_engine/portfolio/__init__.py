"""What accounts and strategies hold, are worth, and have earned."""
