"""A head as a scanner stores it, with artefacts in the k-space where they arise.

    protocol = draw_protocol(rng, head_box(image, voxel_size))
    scan = acquire(key, image, voxel_size, protocol, {"ghosting": 0.6})

The artefacts of `ALL_SOURCES` are put in on whatever grid an image has; on the
2 mm grid of a network they are not what is left of a scanner's after resampling.  Here the image is
a head, of tissues at 1 mm or finer or a real scan, and the scan has a grid of its own.

Fold-over is no severity here but a field of view too small: see `fold_over.narrow`.
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from qc_jax.arrays import Array, Complex, Float, Image, Key, Number, Real, Triple
from qc_jax.augment import fold_over, local, poses, sampling, scanner
from qc_jax.augment.protocol import Protocol
from qc_jax.augment.sampling import Encoding
from qc_jax.augment.scanner import Plan
from qc_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Kind:
    """One way in which a cause spoils a scan, as `source.Source` for a scanner's k-space.

    Attributes:
      name: of the kind.
      cause: name of the source that is to blame.
      apply: `(key, k_space (C, X, Y, Z), severity, plan) -> k_space`; None where it is put in
        before there is a k-space.
      mild, severe: ends of the range of severities, in `unit`.
      none: the severity at which it is the identity.
      unit: what a severity counts.
      looks: what to see of it.
    """

    name: str
    cause: str
    apply: Callable[[jax.Array, jax.Array, jax.Array, Plan], jax.Array] | None
    mild: float
    severe: float
    none: float
    unit: str
    looks: str

    def severity(self, fraction: Number) -> Number:
        """The severity at `fraction` of the way from mild (0) to severe (1)."""
        return self.mild + fraction * (self.severe - self.mild)


KINDS: tuple[Kind, ...] = (
    Kind("fold_over", "wrap", None, 0.03, 0.4, 0.0, "share of the head outside",
         "what sticks out of the field of view lies over the other side"),
    Kind("motion", "motion", None, 0.5, 6.0, 0.0, "degrees and mm",
         "arcs beside the edges of the head along the phase axis, blurred cortex"),
    Kind("ghosting", "ghosting", scanner.ghosting, 0.04, 0.6, 0.0, "first ghost / head",
         "faint copies of the head along the phase axis, also in the air"),
    Kind("pulsation", "ghosting", scanner.pulsation, 0.06, 0.8, 0.0,
         "first ghost / head were it the whole scan",
         "copies of edges, or of the whole head, in places"),
    Kind("residue", "wrap", scanner.residue, 0.1, 0.7, 0.0, "share of the signal not recovered",
         "a faint copy of the head half a field of view away"),
    Kind("spike", "spike", scanner.spike, 0.05, 0.8, 0.0,
         "stripe amplitude / intensity of the head", "stripes through the whole scan"),
    Kind("slice_spikes", "spike", scanner.slice_spikes, 0.1, 1.0, 0.0,
         "stripe amplitude / intensity of the head", "stripes in some slices, each its own"),
    Kind("noise", "noise", scanner.noise, 15.0, -5.0, float("inf"), "SNR in dB",
         "grain, and air that is not black"),
    Kind("blur", "blur", scanner.blur, 2.5, 9.0, 0.0, "mm that are resolved",
         "smeared along an axis, with ringing beside edges or without"),
    Kind("missing_lines", "wrap", scanner.missing_lines, 0.1, 0.7, 0.0,
         "proportion of lines masked", "copies of the head over each other, or smeared edges"),
)  # fmt: skip
"""In the order in which they arise in the scanner; the paper's severities where it has them."""

_BY_NAME = {kind.name: kind for kind in KINDS}


def kind_called(name: str) -> Kind:
    """Raises ConfigError for a kind that does not exist."""
    if name not in _BY_NAME:
        raise ConfigError(f"{name!r} is no artefact of an acquisition; take {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def acquire(
    key: Key,
    image: Real[Array, "X Y Z"],
    voxel_size: Triple,
    protocol: Protocol,
    severities: Mapping[str, Number] | None = None,
    region: Float[Array, "S1 S2 S3"] | None = None,
    still: Complex[jax.Array, "C K1 K2 K3"] | None = None,
) -> Float[jax.Array, "S1 S2 S3"]:
    """Scans a head.

    Args:
      key: typed key; what a kind draws depends on its name alone, so that the same key gives the
        same scan with and without an artefact.
      image: `(X, Y, Z)` float, not negative.
      voxel_size: `(3,)` mm of the image.
      protocol: how it is scanned.
      severities: by the name of a kind, in its unit; none for a clean scan.  `noise` takes the
        place of the noise of the protocol where it is more.
      region: `(X, Y, Z)` in [0, 1] of the shape of the scan, where the artefacts are, see `local`;
        everywhere by default.
      still: what `lying_still` returned for this head and protocol, for several scans of them;
        computed by default.

    Returns:
      `(X, Y, Z)` float32 of shape `protocol.stored`, not negative: intensities of the image, or
      whole numbers up to `protocol.largest`.

    Raises:
      ConfigError: an unknown kind, or a head outside the field of view.
    """
    severities = dict(severities or {})
    for name in severities:
        if kind_called(name).apply is None and name != "motion":
            raise ConfigError(
                f"{name} is no severity: it is a property of the protocol, see `narrow`"
            )
    if not all(0 < size <= 10 for size in voxel_size):
        raise ConfigError(f"voxel_size {tuple(voxel_size)} of the head is no size in mm")
    if not isinstance(image, jax.core.Tracer):
        fold_over.check_inside(protocol, fold_over.head_box(image, voxel_size))
    return _acquire(
        key,
        jnp.asarray(image, jnp.float32),
        tuple(map(float, voxel_size)),
        sampling.encoding(protocol, image.shape, voxel_size),
        jnp.asarray(protocol.field_of_view, jnp.float32),
        jnp.asarray([protocol.snr_db, protocol.largest], jnp.float32),
        {name: jnp.asarray(severity, jnp.float32) for name, severity in severities.items()},
        region,
        still,
        (protocol.axes, protocol.slices, protocol.stored),
    )


def lying_still(
    image: Real[Array, "X Y Z"], voxel_size: Triple, protocol: Protocol
) -> Complex[jax.Array, "C K1 K2 K3"]:
    """`(C, X, Y, Z)` complex64, the k-space of a head without noise or artefacts; see `acquire`."""
    encoding = sampling.encoding(protocol, image.shape, voxel_size)
    return _sample(jnp.asarray(image, jnp.float32), encoding.along)


_sample = jax.jit(sampling.sample)


@functools.partial(jax.jit, static_argnames=("voxel_size", "form"))
def _acquire(
    key,
    image,
    voxel_size,
    encoding: Encoding,
    field_of_view,
    storage,
    severities,
    region,
    still,
    form,
) -> jax.Array:
    axes, slices, stored = form
    if still is None:
        still = sampling.sample(image, encoding.along)
    plan = Plan(axes, slices, field_of_view, encoding.mixing)
    snr_db, largest = storage

    def scan(severities) -> jax.Array:
        k_space = _k_space(key, image, voxel_size, encoding, snr_db, severities, still, plan)
        for kept in encoding.coverage:
            k_space = k_space * kept
        return sampling.reconstruct(k_space, stored)

    found = scan(severities)
    if region is not None:
        found = local.blend(scan({}), found, region)
    return to_integers(found, largest)


def _k_space(key, image, voxel_size, encoding, snr_db, severities, still, plan) -> jax.Array:
    """Of the scan, with every artefact in its turn."""
    k_space = still
    if "motion" in severities:
        k_space = poses.sample_random(
            _key_of(key, "motion"),
            image,
            encoding.along,
            voxel_size,
            severities["motion"],
            plan.encoded,
        )
    severities = {**severities, "noise": jnp.minimum(severities.get("noise", snr_db), snr_db)}
    for kind in KINDS:
        if kind.name in severities and kind.apply is not None:
            k_space = kind.apply(_key_of(key, kind.name), k_space, severities[kind.name], plan)
    return k_space


def to_integers(image: Image, largest: Number) -> Image:
    """Whole numbers from 0 to `largest` in proportion to an image; as it is where that is 0."""
    brightest = jnp.maximum(jnp.max(image), jnp.finfo(image.dtype).tiny)
    return jnp.where(largest > 0, jnp.rint(image * (largest / brightest)), image)


def _key_of(key: Key, name: str) -> Key:
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
