"""Inception-v3 as FID takes it, forward alone, and the files that its weights come in."""
