"""The paper: Sec. III and IV-A, in the order deeplab, generator, losses, stage1, stage2."""
