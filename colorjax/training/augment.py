"""What is done at random to photographs in training: crops, flips, frames, and age."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from colorjax.models.task import Example
from colorjax.ops.ageing import age
from colorjax.settings import Settings


class Augmentation(NamedTuple):
    """What is done to a batch, and how much of it."""

    crop_size: int
    crop: bool = True  # anywhere; False: the middle
    flip: bool = True
    scale_jitter: float = 0.0  # crops show a side that is smaller by up to this share, resized
    frames: float = 0.0  # share that gets a black or white frame
    ageing: float = 0.0  # strength, up to 1, by which the gray is made to look old


def augmentation_of(settings: Settings) -> Augmentation:
    """What the settings of a run ask for."""
    return Augmentation(
        settings.data.crop_size,
        settings.augment.crop,
        settings.augment.flip,
        settings.data.scale_jitter,
        settings.frames,
        settings.ageing,
    )


def augmented(
    rgb_u8: jax.Array,
    numbers: jax.Array,
    how: Augmentation,
    prepare: Callable[[jax.Array], Example],
) -> tuple[Example, jax.Array]:
    """A batch of photographs as training sees it, and the gray that the network is given.

    All that is random follows from the photographs' numbers alone, in which the run's seed already
    is: so runs that differ by their seeds are one program, compiled once. Ageing changes the
    network's gray alone, not the example's.

    Args:
      rgb_u8: uint8 [b, s, s, 3].
      numbers: int32 [b], which number the images of the whole run.
      prepare: of the task.
    Returns:
      The example, its sides `how.crop_size`, and the gray [b, crop_size, crop_size, 1].
    """
    key, size = jax.random.key(0), how.crop_size
    if how.scale_jitter:
        rgb_u8 = scaled_crops(key, rgb_u8, numbers, size, how.scale_jitter, how.flip)
    else:
        rgb_u8 = crops(key, rgb_u8, numbers, size, how.crop, how.flip)
    if how.frames:
        rgb_u8 = framed(jax.random.key(2), rgb_u8, numbers, how.frames)
    example = prepare(rgb_u8)
    return example, age(jax.random.key(1), example.gray, numbers, how.ageing)


def crops(
    key: jax.Array,
    rgb_u8: jax.Array,
    numbers: jax.Array,
    crop_size: int,
    crop: bool = True,
    flip: bool = True,
) -> jax.Array:
    """A random square crop and horizontal flip of each image: [b, s, s, 3] -> [b, crop, crop, 3].

    Without `crop` it is the middle of each image, without `flip` none is mirrored. `numbers` int32
    [b] numbers the images of the whole run; an image's crop depends on `key` and its number alone,
    so that it is the same on any count of devices and after a restart.
    """
    margin = rgb_u8.shape[-2] - crop_size

    def one(image, number):
        key_top, key_left, key_flip = jax.random.split(jax.random.fold_in(key, number), 3)
        top = jax.random.randint(key_top, (), 0, margin + 1) if crop else margin // 2
        left = jax.random.randint(key_left, (), 0, margin + 1) if crop else margin // 2
        cropped = jax.lax.dynamic_slice(image, (top, left, 0), (crop_size, crop_size, 3))
        mirrored = flip and jax.random.bernoulli(key_flip)
        return jnp.where(mirrored, cropped[:, ::-1], cropped)

    return jax.vmap(one)(rgb_u8, numbers)


def scaled_crops(
    key: jax.Array,
    rgb_u8: jax.Array,
    numbers: jax.Array,
    crop_size: int,
    jitter: float,
    flip: bool = True,
) -> jax.Array:
    """As `crops`, but crops are of a random size, resized: [b, s, s, 3] -> [b, crop, crop, 3].

    A crop shows a square whose side is between (1 - `jitter`) s and s.
    """
    size = rgb_u8.shape[-2]

    def one(image, number):
        keys = jax.random.split(jax.random.fold_in(key, number), 3)
        side = size * (1 - jitter * jax.random.uniform(keys[0]))
        corner = (size - side) * jax.random.uniform(keys[1], (2,))
        scale = crop_size / side
        crop = jax.image.scale_and_translate(
            image.astype(jnp.float32),
            (crop_size, crop_size, 3),
            (0, 1),
            jnp.full(2, scale),
            -corner * scale,
            "cubic",
            precision=jax.lax.Precision.HIGHEST,
        )
        crop = jnp.round(jnp.clip(crop, 0, 255)).astype(jnp.uint8)
        return jnp.where(flip and jax.random.bernoulli(keys[2]), crop[:, ::-1], crop)

    return jax.vmap(one)(rgb_u8, numbers)


def framed(key: jax.Array, rgb_u8: jax.Array, numbers: jax.Array, share: float) -> jax.Array:
    """Puts a share of the images behind an uneven black or white frame, as prints and scans have.

    Each margin is up to a fifth of the side. `numbers` is as in `crops`.
    """
    size = rgb_u8.shape[-2]

    def one(image, number):
        keys = jax.random.split(jax.random.fold_in(key, number), 4)
        top, left, bottom, right = jax.random.uniform(keys[0], (4,), maxval=0.2 * size)
        place = jnp.arange(size)
        rows = (place >= top) & (place < size - bottom)
        columns = (place >= left) & (place < size - right)
        inside = (rows[:, None] & columns)[..., None]
        level = jnp.where(jax.random.bernoulli(keys[1]), 255.0, 0.0)
        level = jnp.abs(level - jax.random.uniform(keys[2], maxval=40.0)).astype(jnp.uint8)
        behind = jnp.where(inside, image, level)
        return jnp.where(jax.random.bernoulli(keys[3], share), behind, image)

    return jax.vmap(one)(rgb_u8, numbers)
