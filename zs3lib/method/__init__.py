"""The paper, in the order of Sec. III and IV-A.

deeplab, generator: the network and the generator (Sec. III-A).
losses: Eqs. 1 and 2, and the cross-entropy.
stage1: fine-tuning on images without unseen classes (Sec. IV-A).
features: what the frozen network says of an image.
layout: which images and classes of a batch have real features (Sec. IV-A, Fig. 2).
methods: where ZS3Net, Ours and Equal Weight differ (Sec. III-B, IV-E).
stage2: generator and classifier trained together, by one method (Sec. III, Fig. 2).
together: all methods in one pass, with the warm-up that they share (Sec. III).
evaluate, metrics: PA, MA, mIoU, hIoU (Sec. IV-A).
operating: beside the paper, a method at every balance of seen against unseen classes.

`zs3lib/runs/run.py` calls them one after the other. `settings` is a `zs3lib.Settings` throughout.
"""
