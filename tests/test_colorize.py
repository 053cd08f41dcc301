import jax.numpy as jnp
import numpy as np
import pytest
from networks import rebalanced_network, tiny_network
from numpy.testing import assert_allclose, assert_array_equal
from pictures import gray_steps, spread
from PIL import Image

from colorjax.coloring import colorize
from colorjax.coloring.network import shapes
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError
from colorjax.ops import resample
from colorjax.weights import devices


@pytest.fixture(scope="module")
def painter():
    return colorize.open_painter(tiny_network())


def picture(height, width, seed=0):
    """Smooth colours with some detail, [height, width, 3] uint8."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(cells).resize((width, height), Image.BICUBIC), int)
    return np.clip(smooth + rng.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8)


def colour_one(painter, photo, *settings):
    """Colours one photo; returns its result, or a list of results for several settings."""
    ((_, results),) = colorize.colorize(painter, [photo], settings or [ColorSettings()])
    return results[0] if len(results) == 1 else results


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (257, 1), (33, 47), (600, 513), (90, 1400)])
def test_the_luminance_of_every_pixel_is_kept_within_one_step(painter, size):
    photo = picture(*size)
    result = colour_one(painter, photo, ColorSettings(saturation=4.0))
    assert result.shape == photo.shape and result.dtype == np.uint8
    assert np.abs(gray_steps(result) - gray_steps(photo)).max() <= 1.0


def test_all_shades_keep_their_luminance_and_black_and_white_stay_gray(painter):
    photo = np.zeros((64, 256, 3), np.uint8) + np.arange(256, dtype=np.uint8)[:, None]
    result = colour_one(painter, photo, ColorSettings(saturation=10.0))
    assert np.abs(gray_steps(result) - gray_steps(photo)).max() <= 1.0
    assert (result[:, 0] == 0).all() and (result[:, 255] == 255).all()
    assert np.ptp(result.astype(int), axis=-1).mean() > 20


def test_zero_saturation_gives_the_gray_version_of_a_tinted_photo(painter):
    photo = picture(40, 50)
    result = colour_one(painter, photo, ColorSettings(saturation=0.0))
    assert_array_equal(result[..., 0], result[..., 1])
    assert_array_equal(result[..., 0], result[..., 2])
    assert_allclose(result[..., 0], gray_steps(photo), atol=0.51)


def test_a_batch_of_photos_gives_the_same_results_as_each_photo_alone():
    painter = colorize.open_painter(tiny_network(), batch_size=4)
    photos = [picture(60 + i, 80, seed=i) for i in range(3)] + [picture(50, 100, seed=9)]
    together = dict(colorize.colorize(painter, photos, [ColorSettings()]))
    assert sorted(together) == [0, 1, 2, 3]
    for i, photo in enumerate(photos):
        alone = colour_one(painter, photo).astype(int)
        assert np.abs(together[i][0] - alone).mean() < 0.5


def test_many_sizes_share_few_programs():
    painter = colorize.open_painter(tiny_network())
    rng = np.random.default_rng(0)
    sizes = [(int(h), int(w)) for h, w in rng.integers(90, 200, (12, 2))]
    for size in sizes:
        colour_one(painter, picture(*size))
    found = {shapes.network_shape(*size, painter.size) for size in sizes}
    assert len(set(sizes)) == 12 and len(found) < 8
    assert len(painter.score.compiled) == len(painter.decode.compiled) == len(found)
    assert len(painter.color_tile.compiled) <= len(found)


def test_network_shapes_have_the_photos_proportions_and_the_wanted_size():
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(2000):
        height, width = np.exp(rng.uniform(0, np.log(10_000), 2)).astype(int)
        rows, columns = shapes.network_shape(height, width, 256)
        found.add((rows, columns))
        assert rows % 16 == columns % 16 == 0
        want = np.clip(height / width, 1 / 32, 32)
        area_factor = max(1, max(want, 1 / want) / 2)
        assert 0.85 < rows * columns / 256**2 / area_factor < 1.15
        assert 0.8 < rows / columns / want < 1.25
    assert len(found) < 75


@pytest.mark.parametrize("space", ["lab", "hsv"])
def test_networks_of_other_spaces_keep_the_luminance_too(space):
    painter = colorize.open_painter(tiny_network(space=space))
    photo = picture(70, 90)
    result = colour_one(painter, photo)
    assert np.abs(gray_steps(result) - gray_steps(photo)).max() <= 1.0
    assert np.ptp(result.astype(int), axis=-1).mean() > 5


def test_a_regression_network_colours_and_accepts_no_decoding_method():
    painter = colorize.open_painter(tiny_network(objective="regression"))
    assert colour_one(painter, picture(40, 40)).shape == (40, 40, 3)
    with pytest.raises(UserError, match="decode is 'mean', but the model predicts chroma itself"):
        colour_one(painter, picture(40, 40), ColorSettings(decode="mean"))


def test_settings_change_the_result_and_samples_follow_their_seed(painter):
    photo = picture(48, 64)
    first, again, second, mean, argmax = colour_one(
        painter,
        photo,
        ColorSettings("sample", seed=1),
        ColorSettings("sample", seed=1),
        ColorSettings("sample", seed=2),
        ColorSettings("mean"),
        ColorSettings("argmax"),
    )
    assert_array_equal(first, again)
    results = [first, second, mean, argmax]
    for i, one in enumerate(results):
        for other in results[:i]:
            assert np.abs(one.astype(int) - other).mean() > 1


def test_temperature_towards_zero_is_argmax_and_one_is_the_mean(painter):
    photo = picture(48, 64)
    cold, argmax, warm, mean = colour_one(
        painter,
        photo,
        ColorSettings("annealed", 1e-3),
        ColorSettings("argmax"),
        ColorSettings("annealed", 1.0),
        ColorSettings("mean"),
    )
    assert np.abs(cold.astype(int) - argmax).mean() < 0.1
    assert_allclose(warm, mean, atol=1)


def test_rebalance_sets_how_common_rare_colours_are_with_the_models_default():
    painter = colorize.open_painter(rebalanced_network(0.5))
    shares = [ColorSettings(rebalance=share) for share in (0.0, 0.5, 1.0)]
    none, half, full, default = colour_one(painter, picture(48, 64), *shares, ColorSettings())
    assert_array_equal(half, default)
    assert spread(none) < spread(half) < spread(full)


@pytest.mark.parametrize(
    "settings, message",
    [
        (ColorSettings(decode="best"), "decode is 'best', want one of 'argmax'"),
        (ColorSettings(temperature=0.0), "temperature is 0.0, want at least 0.001"),
        (ColorSettings(saturation=-1.0), "saturation is -1.0"),
        (ColorSettings(saturation=1e37), "saturation is 1e.37, want at most 1,000,000"),
        (ColorSettings(edges="sharp"), "edges is 'sharp'"),
        (ColorSettings(seed=-1), "seed is -1"),
        (
            ColorSettings(rebalance=0.5),
            "rebalance is 0.5, but the model's training was not rebalanced",
        ),
        (ColorSettings(rebalance=1.5), "rebalance is 1.5, want a share from 0 to 1"),
    ],
)
def test_settings_out_of_range_are_refused(painter, settings, message):
    with pytest.raises(UserError, match=message):
        colour_one(painter, picture(8, 8), settings)


def test_a_size_that_is_too_small_and_an_unknown_device_are_refused():
    with pytest.raises(UserError, match="size is 8, want at least 16"):
        colorize.open_painter(tiny_network(), size=8)
    with pytest.raises(UserError, match="device is 'tpu', want cpu or one of cpu:0"):
        devices.pick_device("tpu")


def edge_places(photo, chroma, fits_of, factor):
    """Upsamples chroma by `factor`; returns the column of the edge in each row, and u."""
    height, width = photo.shape
    lightness = photo[..., None].astype(np.float32)
    cells = lightness.reshape(height // factor, factor, width // factor, factor).mean((1, 3))
    fits = fits_of(jnp.asarray(chroma), jnp.asarray(cells)[..., None])
    rows, columns = ((np.arange(n) + 0.5) / factor - 0.5 for n in (height, width))
    pixel_fits = resample.sample_bilinear(fits, rows, columns)
    u = np.asarray(resample.apply_fits(pixel_fits, jnp.asarray(lightness)))[..., 0]
    return [np.flatnonzero(row < 0)[-1] + 1 for row in u], u


@pytest.mark.parametrize("edge", range(150, 160))
def test_an_edge_between_two_colours_keeps_its_place_at_ten_times_the_size(edge):
    factor, size = 10, 320
    lightness = np.where(np.arange(size) < edge, 40.0, 60.0) * np.ones((size, 1))
    truth = np.where(np.arange(size) < edge, -50.0, 50.0) * np.ones((size, 1))
    coarse = truth.reshape(size // factor, factor, size // factor, factor).mean((1, 3))
    chroma = np.stack([coarse, -coarse], axis=-1).astype(np.float32)
    places, u = edge_places(lightness, chroma, resample.fit_guided_filter, factor)
    assert np.abs(np.array(places) - edge).max() <= 1
    # The colours do not bleed: one pixel from the edge, 90% of the step is complete.
    assert np.abs(u[:, edge + 1 :] - 50).max() < 10 and np.abs(u[:, : edge - 1] + 50).max() < 10
    _, blurred = edge_places(lightness, chroma, lambda c, _: resample.unguided_fits(c), factor)
    assert np.abs(blurred[:, edge + 1] - 50).max() > 20
