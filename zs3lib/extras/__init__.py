"""Beside the paper's tables: graph context, self-training and a projection baseline."""
