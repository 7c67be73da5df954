"""The training loop, and what it leaves behind: runs, checkpoints, samples."""
