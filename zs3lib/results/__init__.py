"""Results: run records, the paper's tables beside them, an audit of these, and the report."""
