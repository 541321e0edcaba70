"""Results: run records, the tables that are made of them alone, and the report."""
