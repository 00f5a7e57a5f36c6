"""The architectures: mixers, scans, blocks, the reference, and the trainer."""
