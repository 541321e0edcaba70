"""Settings of the smallest run there is, as parameters of the train notebook."""

TINY = {  # its `options`
    "crop_size": 32,
    "base_size": 40,
    "val_size": 40,
    "batch_size": 4,
    "stage1_steps": 0,
    "samples": 8,
    "views": 1,
}
EPOCHS = {"stage1_epochs": 1, "stage2_epochs": 2, "warmup_epochs": 1, "device": "cpu"}
