"""Convolution as the three partial derivatives of one trilinear form; correlation.py has the formulas."""

from minicoulomb.conv.correlation import correlate, correlate_input, correlate_kernel

__all__ = ["correlate", "correlate_input", "correlate_kernel"]
