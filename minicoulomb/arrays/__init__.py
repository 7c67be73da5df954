"""Which library holds the numbers, NumPy or CuPy, and what computes faster: threads, buffers, kernels."""
