"""cupy.lib, of which minicoulomb uses stride_tricks."""

from types import SimpleNamespace

from strict_cupy.functions import as_strided

stride_tricks = SimpleNamespace(as_strided=as_strided)
