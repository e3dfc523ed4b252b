"""The training engine: one loop and one run for every capability, checkpoints, loader, augmentation, uncertainty."""
