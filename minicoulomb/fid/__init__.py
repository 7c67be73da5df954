"""FID and KID: Inception-v3, forward only, the files of its weights, and statistics of its features."""
