"""What a finished run can be asked: classes by name, why a class fails, Fig. 3, the data."""
