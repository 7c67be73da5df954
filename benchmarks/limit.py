"""The least time of a GPU for the potential of points in the plane, by what its units do in a clock cycle.

    seconds = pairs * max over units (operations of a pair / lanes of a multiprocessor) / (multiprocessors * clock)

Each of the n^2 ordered pairs needs, for k(a, b) = 1 / (|a - b|^2 + eps^2) and its share of the sum (pairs_cuda.py),

    2 subtractions      a - b
    2 multiply-adds     eps^2 + (a_1 - b_1)^2 + (a_2 - b_2)^2
    1 multiply-add      the charge times k, onto the sum
    1 reciprocal        on the special function units

The inner loop that NVIDIA's compiler makes for an H100 has 32 FADD, 48 FFMA and 16 MUFU.RCP for 16 pairs. Loads do not
count, since many pairs share them, nor does the memory, which is read a few times for n points. The symmetry
k(a, b) = k(b, a) could halve the work; neither side uses it within a set of points.
"""

from minicoulomb.arrays.backend import Backend

ADDITIONS, RECIPROCALS = 5, 1

# Lanes of a multiprocessor for float32, by compute capability, from CUDA's programming guide, "arithmetic
# instructions"; and for reciprocals, the same for all.
FLOAT32_LANES = {70: 64, 75: 64, 80: 64, 86: 128, 87: 128, 89: 128, 90: 128, 100: 128, 103: 128, 120: 128, 121: 128}
RECIPROCAL_LANES = 16


def plane_limit(n: int, backend: Backend) -> tuple[float, str] | None:
    """(seconds, the count in words) for all n^2 pairs of n points on the backend's GPU; None if it is unknown."""
    if backend.name == "numpy":
        return None
    lanes = FLOAT32_LANES.get(int(backend.xp.cuda.Device(backend.device).compute_capability))
    multiprocessors, kilohertz, _ = rates(backend)
    if not (lanes and multiprocessors and kilohertz):
        return None
    clocks = {"float32": ADDITIONS / lanes, "reciprocals": RECIPROCALS / RECIPROCAL_LANES}
    binding = max(clocks, key=clocks.get)
    seconds = n**2 * clocks[binding] / (multiprocessors * kilohertz * 1e3)
    return seconds, (
        f"{n**2:.1e} pairs, each {ADDITIONS} float32 operations at {lanes} and {RECIPROCALS} reciprocal at "
        f"{RECIPROCAL_LANES} a clock on each of {multiprocessors} multiprocessors at {kilohertz / 1e6:.2f} GHz: "
        f"{binding} bind, {1e3 * seconds:.3g} ms at best"
    )


def rates(backend: Backend) -> tuple[int, int, int]:
    """Multiprocessors of the backend's GPU, and the highest clocks of these and of its memory in kHz; 0 if unknown."""
    runtime = backend.xp.cuda.runtime

    def read(attribute):
        try:
            return runtime.deviceGetAttribute(attribute, backend.device)
        except runtime.CUDARuntimeError:
            return 0

    attributes = (
        runtime.cudaDevAttrMultiProcessorCount,
        runtime.cudaDevAttrClockRate,
        runtime.cudaDevAttrMemoryClockRate,
    )
    return tuple(map(read, attributes))
