"""Every gradient against finite differences and against autograd, JAX and PyTorch."""
