"""A run: from data to record, opened again, and what starts it."""
