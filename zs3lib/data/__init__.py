"""From files to batches: segmentation data, augmentation, word vectors, and their download."""
