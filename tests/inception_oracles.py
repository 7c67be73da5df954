"""What Inception's features are held against: pytorch-fid itself, and a network of torch's functions alone."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest

NORM = ("running_mean", "running_var", "weight", "bias")
DECLARED = []  # torch forgets what a library declared when it is gone


def pytorch_fid(monkeypatch=None, weights=None):
    """The package, or a skip; with `weights`, a .pth file, its network takes those in the place of a download.

    Without torchvision's compiled part, two of its operators have to be declared before it imports.
    """
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    for name in ("torchvision", "pytorch_fid"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install --no-deps torchvision pytorch-fid")
    if "torchvision" not in sys.modules and not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        DECLARED.append(library)
    import pytorch_fid.fid_score
    import pytorch_fid.inception

    if weights:
        load = lambda *args, **options: torch.load(weights)
        monkeypatch.setattr(pytorch_fid.inception, "load_state_dict_from_url", load)
    return pytorch_fid


def torch_features(state, x):
    """The features (n, 2048) of x (n, h, w, 3), by torch's convolution, batch normalization and pooling.

    Written from the blocks as their paper and pytorch-fid draw them, apart from our table.
    """
    import torch
    from torch.nn import functional as F

    state = {name: torch.from_numpy(np.asarray(array)) for name, array in state.items()}

    def conv(x, name, **geometry):
        w, norm = state[f"{name}.conv.weight"], [state[f"{name}.bn.{part}"] for part in NORM]
        return F.relu(F.batch_norm(F.conv2d(x, w, **geometry), *norm, eps=0.001))

    average = lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    across, down = {"padding": (0, 3)}, {"padding": (3, 0)}

    def block_a(x, n):
        five = conv(conv(x, f"{n}.branch5x5_1"), f"{n}.branch5x5_2", padding=2)
        double = conv(conv(x, f"{n}.branch3x3dbl_1"), f"{n}.branch3x3dbl_2", padding=1)
        double = conv(double, f"{n}.branch3x3dbl_3", padding=1)
        return torch.cat([conv(x, f"{n}.branch1x1"), five, double, conv(average(x), f"{n}.branch_pool")], 1)

    def block_b(x, n):
        double = conv(conv(x, f"{n}.branch3x3dbl_1"), f"{n}.branch3x3dbl_2", padding=1)
        double = conv(double, f"{n}.branch3x3dbl_3", stride=2)
        return torch.cat([conv(x, f"{n}.branch3x3", stride=2), double, F.max_pool2d(x, 3, 2)], 1)

    def block_c(x, n):
        seven = conv(conv(x, f"{n}.branch7x7_1"), f"{n}.branch7x7_2", **across)
        seven = conv(seven, f"{n}.branch7x7_3", **down)
        double = conv(conv(x, f"{n}.branch7x7dbl_1"), f"{n}.branch7x7dbl_2", **down)
        double = conv(conv(double, f"{n}.branch7x7dbl_3", **across), f"{n}.branch7x7dbl_4", **down)
        double = conv(double, f"{n}.branch7x7dbl_5", **across)
        return torch.cat([conv(x, f"{n}.branch1x1"), seven, double, conv(average(x), f"{n}.branch_pool")], 1)

    def block_d(x, n):
        three = conv(conv(x, f"{n}.branch3x3_1"), f"{n}.branch3x3_2", stride=2)
        seven = conv(conv(x, f"{n}.branch7x7x3_1"), f"{n}.branch7x7x3_2", **across)
        seven = conv(conv(seven, f"{n}.branch7x7x3_3", **down), f"{n}.branch7x7x3_4", stride=2)
        return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)

    def block_e(x, n, pool):
        three = conv(x, f"{n}.branch3x3_1")
        three = [conv(three, f"{n}.branch3x3_2a", padding=(0, 1)), conv(three, f"{n}.branch3x3_2b", padding=(1, 0))]
        double = conv(conv(x, f"{n}.branch3x3dbl_1"), f"{n}.branch3x3dbl_2", padding=1)
        double = [
            conv(double, f"{n}.branch3x3dbl_3a", padding=(0, 1)),
            conv(double, f"{n}.branch3x3dbl_3b", padding=(1, 0)),
        ]
        return torch.cat([conv(x, f"{n}.branch1x1"), *three, *double, conv(pool(x), f"{n}.branch_pool")], 1)

    y = torch.from_numpy(x).permute(0, 3, 1, 2)
    y = conv(conv(y, "Conv2d_1a_3x3", stride=2), "Conv2d_2a_3x3")
    y = F.max_pool2d(conv(y, "Conv2d_2b_3x3", padding=1), 3, 2)
    y = F.max_pool2d(conv(conv(y, "Conv2d_3b_1x1"), "Conv2d_4a_3x3"), 3, 2)
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        y = block_a(y, name)
    y = block_b(y, "Mixed_6a")
    for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        y = block_c(y, name)
    y = block_d(y, "Mixed_7a")
    y = block_e(block_e(y, "Mixed_7b", average), "Mixed_7c", lambda x: F.max_pool2d(x, 3, 1, 1))
    return y.mean((2, 3)).numpy()
