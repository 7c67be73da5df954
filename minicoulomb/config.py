"""Every setting of a run, once: its default, what it means, and the values that it may take.

The command line makes an option of each field: `lr_g` is --lr-g. Most defaults are the paper's; each experiment's
own settings are in presets.py.
"""

import json
import sys
from dataclasses import asdict, dataclass, field, fields, replace
from math import inf, log
from typing import Any

from minicoulomb.arrays.backend import LOG_MAX
from minicoulomb.errors import UserError


def setting(default, help: str, choices=None, *, low=-inf, above=-inf, high=inf) -> Any:
    """A field with its reason and the values it may take: one of `choices`, or low <= value <= high, above < value."""
    return field(default=default, metadata={"help": help, "choices": choices, "low": low, "above": above, "high": high})


def _check(f, value):
    """UserError unless `value` has the field's type and lies in its range."""
    rule = None
    allowed = f.type | int if float in (f.type, *getattr(f.type, "__args__", ())) else f.type
    if not isinstance(value, allowed) or (isinstance(value, bool) and f.type is not bool):
        rule = f"must be of type {getattr(f.type, '__name__', f.type)}"
    elif value is not None and f.metadata["choices"] and value not in f.metadata["choices"]:
        rule = f"must be one of {', '.join(f.metadata['choices'])}"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        low, above, high = f.metadata["low"], f.metadata["above"], f.metadata["high"]
        if not (low <= value <= high and above < value <= sys.float_info.max):
            limits = (("at least", low), ("above", above), ("at most", high))
            rule = " and ".join(["must be finite", *(f"{what} {n}" for what, n in limits if abs(n) < inf)])
    if rule:
        raise UserError(f"{f.name} {value!r:.80}: {rule}; {_flag(f.name)} is: {f.metadata['help']}")


def fitting_side(side: int) -> int:
    """The smallest side from `side` on that convolutional networks halve down to 4, 5, 6 or 7: one of these times 2**k.

    >>> [fitting_side(side) for side in (5, 28, 30, 32, 33)]
    [8, 28, 32, 32, 40]
    """
    step = 2 ** (max(side, 8).bit_length() - 3)
    return max(8, -(-side // step) * step)


def _flag(name):
    return f"--{name.replace('_', '-')}"


class _Part:
    """One of the four parts: UserError for a value that no run could use."""

    def __post_init__(self):
        for f in fields(self):
            if getattr(value := getattr(self, f.name), "ndim", None) == 0:  # a number of NumPy
                object.__setattr__(self, f.name, value := value.item())
            _check(f, value)


@dataclass(frozen=True)
class Data(_Part):
    """Which samples are real."""

    data: str = setting(
        "grid",
        "data: grid, ring, digits, a folder, zip or tar of images, an LMDB, CIFAR-10, a .npy or .npz array, .csv, or "
        ".txt",
    )
    size: int | None = setting(
        None, "side of the training images: 4, 5, 6 or 7 times 2**k pixels  [that of small images; 32]", low=8
    )
    crop: int | None = setting(None, "side of the central square cut from each image  [the largest]", low=1)
    pad: bool = setting(False, "put whole images on a square of the colour of their border instead of cutting")
    channels: int | None = setting(None, "3: colour images, 1: grey images  [as the images are]", low=1, high=3)
    length: int | None = setting(
        None, "characters of a line of text; reads the data as text  [.txt: 16]", low=1, high=2**12
    )
    vocabulary: int = setting(
        2048, "characters of text, the most frequent ones and one for all others", low=2, high=2**16
    )
    lines: int | None = setting(None, "lines of text to read  [all]", low=2)
    skip_bad: bool = setting(False, "skip images, or lines of text, that cannot be read instead of stopping")
    hold_out_every: int = setting(10, "keep every n-th sample out of training, for evaluation; 0: none", low=0)

    def __post_init__(self):
        super().__post_init__()
        if self.channels == 2:
            raise UserError("channels 2: an image has 1 or 3 channels; use --channels 3")
        if self.hold_out_every == 1:
            raise UserError("hold_out_every 1: leaves no training samples; use --hold-out-every 0 for none, or 2")


@dataclass(frozen=True)
class Networks(_Part):
    """Generator and discriminator."""

    generator: str = setting("mlp", "generator network", ("mlp", "my", "dcgan", "resnet", "text"))
    discriminator: str = setting("mlp", "discriminator network", ("mlp", "my", "my-big", "dcgan", "resnet", "text"))
    latent: int = setting(2, "dimension of z ~ N(0, I)", low=1)
    g_width: int | None = setting(
        None, "units of G's layers, or channels before its last  [64; my: 128; text: 512]", low=1
    )
    d_width: int | None = setting(
        None, "units of D's layers, or channels of its first  [64; mlp, my-big: 128; text: 512]", low=1
    )
    g_depth: int = setting(4, "hidden layers of G (mlp), or blocks (text)", low=1, high=1000)
    d_depth: int = setting(3, "hidden layers of D (mlp), or blocks (text)", low=1, high=1000)
    extra_layers: int = setting(0, "3x3 convolutions to add at the smallest layer; 0 in the paper", low=0, high=1000)
    g_activation: str = setting("relu", "activation in G (mlp)", ("relu", "leaky_relu", "elu", "tanh"))
    d_activation: str = setting("relu", "activation in D (mlp)", ("relu", "leaky_relu", "elu", "tanh"))
    convolution: str = setting(
        "auto",
        "algorithm of the convolutions: direct (im2col and one matrix product), winograd (fewer multiplications), or "
        "auto (the cheaper one at each layer's size); results agree up to rounding",
        ("auto", "direct", "winograd"),
    )


@dataclass(frozen=True)
class Algorithm(_Part):
    """The field, Algorithm 1 and Adam: all that a step depends on besides the networks and the samples."""

    # The field
    d: float = setting(2.0, "kernel (r^2 + eps^2)^(-d/2); the official code's dimension is d + 2", above=0)
    eps: float = setting(3.0, "width of the Plummer kernel, in units of the data", above=0)
    eps_end: float | None = setting(None, "eps at the last step, approached exponentially  [eps: constant]", above=0)
    potential_scale: float = setting(1.0, "D learns this multiple of the potential; 1 in the paper", above=0)
    relative_potential: bool = setting(False, "D learns the potential in units of eps^-d, its largest value")

    # Algorithm 1
    objective: str = setting(
        "coulomb",
        "coulomb: Algorithm 1; gan: a non-saturating GAN; field: G follows the mini-batch's field, without D",
        ("coulomb", "gan", "field"),
    )
    field_share: float = setting(
        0.0, "share f of the mini-batch's own field in the slope that G climbs; 0 in the paper", low=0, high=1
    )
    noise: float = setting(0.0, "noise on the points where D learns, in units of eps; 1 in the paper", low=0)
    l2: float = setting(0.0, "weight decay of D: adds l2/2 * ||kernels of convolutions, or else all||^2 to L_D", low=0)
    l2_g: float = setting(0.0, "the same for G and L_G; 1e-7 for both in the official code", low=0)
    d_steps: int = setting(1, "updates of D per update of G; the last one is simultaneous with G's", low=1)
    batch_size: int = setting(128, "real samples per batch, and as many generated ones", low=1)
    steps: int = setting(1_000_000, "updates of G", low=1)

    # Adam
    lr_g: float = setting(1e-4, "learning rate of G", above=0)
    lr_d: float = setting(5e-5, "learning rate of D; half of G's in the official code", above=0)
    lr_decay: float = setting(1.0, "last learning rates as a share of the first, approached exponentially", above=0)
    lr_decay_d: float | None = setting(None, "D's last learning rate as a share of its first  [lr-decay]", above=0)
    plateau: int = setting(
        0,
        "end at the second plateau: so many FIDs, or mmd2 of pictures, without a new low; the first one divides the "
        "learning rates by 10; 0: no end",
        low=0,
    )
    beta1_g: float = setting(0.9, "Adam's beta1 for G", low=0, high=0.999999)
    beta1_d: float = setting(0.9, "Adam's beta1 for D", low=0, high=0.999999)
    beta2: float = setting(0.999, "Adam's beta2 for both networks", low=0, high=0.999999)
    adam_epsilon: float = setting(1e-8, "Adam's epsilon", above=0)
    average: float = setting(0.0, "decay of the average of G's weights that samples come from; 0: none", low=0, high=1)

    def __post_init__(self):
        super().__post_init__()
        self.check_range("float64")
        # What an objective does not have must stay at the value that means none.
        absent = {"gan": {"noise": 0, "field_share": 0}, "field": {"noise": 0, "d_steps": 1, "l2": 0, "field_share": 0}}
        for name, none in absent.get(self.objective, {}).items():
            if getattr(self, name) != none:
                raise UserError(
                    f"{name} {getattr(self, name)}: objective {self.objective} has no such setting; use {_flag(name)} "
                    f"{none}, or --objective coulomb"
                )
        if self.field_share == 1:
            raise UserError("field_share 1: leaves nothing to D; use --objective field, or a share below 1")

    def check_range(self, dtype: str) -> None:
        """UserError unless the scales of kernel and target, powers of eps, are numbers of the dtype."""
        for eps in (self.eps, self.eps_end or self.eps):
            if abs((self.d + 2) * log(eps)) + abs(log(self.potential_scale)) > LOG_MAX[dtype]:
                numbers = f"d {self.d:g}, eps {eps:g}, potential_scale {self.potential_scale:g}"
                remedy = "use a smaller --d, or --eps and --potential-scale nearer to 1"
                raise UserError(f"{numbers}: scale and eps^(d+2) must be within the range of {dtype}; {remedy}")


@dataclass(frozen=True)
class Run(_Part):
    """Where and how a run computes, and what it writes."""

    seed: int = setting(0, "seed of all random numbers", low=0)
    dtype: str = setting("float32", "floating-point precision", ("float32", "float64"))
    backend: str = setting(
        "numpy", "array library; auto: cupy if a GPU is usable, else numpy", ("numpy", "cupy", "auto")
    )
    device: int = setting(0, "number of the GPU", low=0)
    # Off, so that figures agree with NumPy's: TF32 keeps 10 bits of each factor's mantissa, float32 has 23.
    tf32: bool = setting(False, "use TF32 for matrix products on a GPU: faster, about 3 significant digits")
    threads: int | None = setting(None, "threads on the CPU  [one per core]", low=1)
    local_batch_norm: bool = setting(
        False, "with mpirun, normalize each process's share of a batch by itself, not the whole batch"
    )
    batch_statistics: bool = setting(False, "sample with the statistics of the batch, as the official code does")
    log_every: int = setting(100, "steps between lines of metrics.jsonl", low=1)
    sample_every: int = setting(1000, "steps between pictures of samples; 0: only at the end", low=0)
    checkpoint_every: int = setting(1000, "steps between checkpoints; 0: only at the end", low=0)
    keep_checkpoints: int = setting(3, "number of checkpoints to keep, the latest ones", low=1)

    # FID while training
    fid_every: int = setting(0, "steps between FIDs, of which the best checkpoint is kept; 0: none", low=0)
    # More than the 2048 features, or their covariance has no full rank; the literature's 50,000 take long.
    fid_samples: int = setting(10_000, "samples per FID", low=2)
    fid_reference: str | None = setting(None, "reference of FID: a .npz with mu and sigma, or images  [data]")
    inception: str | None = setting(None, "weights of FID's Inception: a .pth, .safetensors or .npz file")

    def __post_init__(self):
        super().__post_init__()
        if self.fid_every and self.inception is None:
            raise UserError(f"fid_every {self.fid_every}: FID needs Inception's weights; add --inception FILE")


@dataclass(frozen=True)
class Config:
    """All settings of a run, in four parts; as options of the command line their names stand side by side.

    Parameters
    ----------
    data : Data
        Which samples are real.
    networks : Networks
        Generator and discriminator.
    algorithm : Algorithm
        All that a step depends on besides the networks and the samples.
    run : Run
        Where and how a run computes, and what it writes.

    Raises
    ------
    UserError
        For a value that no run could use.

    Examples
    --------
    >>> config = Config.of(data="ring", lr_g=1e-3)
    >>> config.data.data, config.algorithm.lr_g, config.replace(steps=10).algorithm.steps
    ('ring', 0.001, 10)
    """

    data: Data = Data()
    networks: Networks = Networks()
    algorithm: Algorithm = Algorithm()
    run: Run = Run()

    def __post_init__(self):
        for f in fields(self):
            if not isinstance(part := getattr(self, f.name), f.type):
                what = f"{f.name} {part!r:.80}"
                raise UserError(f"{what}: must be of type {f.type.__name__}; use Config.of(lr_g=1e-3, ...)")
        self.algorithm.check_range(self.run.dtype)

    @classmethod
    def of(cls, /, **settings: Any) -> "Config":
        """The configuration with these settings, whichever part they belong to, and defaults for all others.

        UserError for a name that no part has, or a value that no run could use.
        """
        return cls().replace(**settings)

    def replace(self, /, **settings: Any) -> "Config":
        """A copy with these settings changed."""
        unknown = sorted(set(settings) - set(SETTINGS))
        if unknown:
            raise UserError(f"settings {', '.join(unknown):.200}: unknown here; `minicoulomb train --help` lists all")
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return Config(
            **{
                name: replace(part, **{key: settings[key] for key in asdict(part) if key in settings})
                for name, part in parts.items()
            }
        )

    def settings(self) -> dict[str, Any]:
        """All settings by name."""
        return {name: value for part in asdict(self).values() for name, value in part.items()}

    def to_json(self) -> str:
        return json.dumps(self.settings(), indent=2)


# help(Algorithm) lists its settings, with the texts of the options.
for _part in (Data, Networks, Algorithm, Run):
    _rows = ["", "Parameters", "----------"]
    for _f in fields(_part):
        _choices = f"{{{str(_f.metadata['choices'])[1:-1]}}}"
        _kind = _choices if _f.metadata["choices"] else getattr(_f.type, "__name__", _f.type)
        _rows += [f"{_f.name} : {_kind}, default {_f.default!r}", f"    {_f.metadata['help']}"]
    _part.__doc__ = "\n".join([f"{_part.__doc__}", *_rows])

# The settings that name files.
FILES = ("data", "inception", "fid_reference")

# Each setting's field, by name.
SETTINGS = {f.name: f for part in (Data, Networks, Algorithm, Run) for f in fields(part)}
