"""Random augmentation of training photographs: crops, flips, frames and simulated ageing."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from colorjax.models.task import Example
from colorjax.ops.ageing import age
from colorjax.settings import Settings


class Augmentation(NamedTuple):
    """The augmentations of a batch, and their strengths."""

    crop_size: int
    crop: bool = True  # crop at a random place; False: the centre
    flip: bool = True
    scale_jitter: float = 0.0  # crops have a side up to this share below the image's; 0: crop_size
    frames: float = 0.0  # share of images that get a black or white frame
    ageing: float = 0.0  # strength, up to 1, of the simulated ageing of the gray image


def augmentation_of(settings: Settings) -> Augmentation:
    """Returns the augmentation that the settings of a run ask for."""
    return Augmentation(
        settings.data.crop_size,
        settings.augment.crop,
        settings.augment.flip,
        settings.data.scale_jitter,
        settings.frames,
        settings.ageing,
    )


def augment_batch(
    rgb_u8: jax.Array,
    numbers: jax.Array,
    augmentation: Augmentation,
    prepare: Callable[[jax.Array], Example],
) -> tuple[Example, jax.Array]:
    """Augments a batch of photographs, and returns the example and the network's gray input.

    Randomness depends only on the images' numbers, which already include the run's seed. The
    program therefore does not depend on the seed, and runs with different seeds compile it once.
    Ageing changes only the network's input, not the example's gray.

    Args:
      rgb_u8: uint8 [b, s, s, 3].
      numbers: int32 [b], the images' numbers in the whole run.
      augmentation: which augmentations to apply.
      prepare: `Task.prepare`, which makes an example of RGB.
    Returns:
      The example with sides `augmentation.crop_size`, and the gray [b, crop_size, crop_size, 1].
    """
    key, size, flip = jax.random.key(0), augmentation.crop_size, augmentation.flip
    if augmentation.scale_jitter:
        rgb_u8 = scaled_crops(key, rgb_u8, numbers, size, augmentation.scale_jitter, flip)
    else:
        rgb_u8 = crops(key, rgb_u8, numbers, size, augmentation.crop, flip)
    if augmentation.frames:
        rgb_u8 = add_frames(jax.random.key(2), rgb_u8, numbers, augmentation.frames)
    example = prepare(rgb_u8)
    return example, age(jax.random.key(1), example.gray, numbers, augmentation.ageing)


def crops(
    key: jax.Array,
    rgb_u8: jax.Array,
    numbers: jax.Array,
    crop_size: int,
    crop: bool = True,
    flip: bool = True,
) -> jax.Array:
    """Crops and flips each image at random: [b, s, s, 3] -> [b, crop, crop, 3].

    Without `crop`, the crop is the centre of each image; without `flip`, no image is mirrored.
    `numbers`, int32 [b], are the images' numbers in the whole run. An image's crop depends only on
    `key` and its number, so it is the same with any device count and after a restart.
    """
    margin = rgb_u8.shape[-2] - crop_size

    def crop_one(image, number):
        key_top, key_left, key_flip = jax.random.split(jax.random.fold_in(key, number), 3)
        top = jax.random.randint(key_top, (), 0, margin + 1) if crop else margin // 2
        left = jax.random.randint(key_left, (), 0, margin + 1) if crop else margin // 2
        cropped = jax.lax.dynamic_slice(image, (top, left, 0), (crop_size, crop_size, 3))
        mirrored = flip and jax.random.bernoulli(key_flip)
        return jnp.where(mirrored, cropped[:, ::-1], cropped)

    return jax.vmap(crop_one)(rgb_u8, numbers)


def scaled_crops(
    key: jax.Array,
    rgb_u8: jax.Array,
    numbers: jax.Array,
    crop_size: int,
    jitter: float,
    flip: bool = True,
) -> jax.Array:
    """Like `crops`, but crops squares of random size and resizes them to [b, crop, crop, 3].

    The side of a crop is between (1 - `jitter`) s and s, for images [b, s, s, 3].
    """
    size = rgb_u8.shape[-2]

    def crop_one(image, number):
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

    return jax.vmap(crop_one)(rgb_u8, numbers)


def add_frames(key: jax.Array, rgb_u8: jax.Array, numbers: jax.Array, share: float) -> jax.Array:
    """Puts an uneven black or white frame around a share of the images, as on prints and scans.

    The frame covers each edge up to a fifth of the side. `numbers` is as in `crops`.
    """
    size = rgb_u8.shape[-2]

    def frame_one(image, number):
        keys = jax.random.split(jax.random.fold_in(key, number), 4)
        top, left, bottom, right = jax.random.uniform(keys[0], (4,), maxval=0.2 * size)
        index = jnp.arange(size)
        rows = (index >= top) & (index < size - bottom)
        columns = (index >= left) & (index < size - right)
        inside = (rows[:, None] & columns)[..., None]
        level = jnp.where(jax.random.bernoulli(keys[1]), 255.0, 0.0)
        level = jnp.abs(level - jax.random.uniform(keys[2], maxval=40.0)).astype(jnp.uint8)
        framed = jnp.where(inside, image, level)
        return jnp.where(jax.random.bernoulli(keys[3], share), framed, image)

    return jax.vmap(frame_one)(rgb_u8, numbers)
