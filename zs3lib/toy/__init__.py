"""The toy world: generated pictures in the real datasets' formats, and words about them."""
