"""Token ids in, token ids out: Mamba-3, its recurrent state, checkpoints, sampling and the engine. No text, no Ray."""
