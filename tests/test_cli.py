import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from networks import save_run, tiny_network
from pictures import encode, gray_steps, png_that_claims
from PIL import Image

from colorjax import cli
from colorjax.coloring import api
from colorjax.commands import colorize as command
from colorjax.errors import UserError
from colorjax.ops import color


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_run(tmp_path_factory.mktemp("model"), tiny_network()))


@pytest.fixture(scope="module")
def colorizer(model):
    return api.Colorizer(model)


def gray_picture(height=48, width=60, seed=0):
    rng = np.random.default_rng(seed)
    cells = Image.fromarray(rng.integers(20, 236, (4, 5), dtype=np.uint8))
    return np.asarray(cells.resize((width, height), Image.BICUBIC))


def invoke(*arguments, **options):
    # What a library prints to standard error is not part of the command's messages.
    return CliRunner().invoke(cli.main, [str(a) for a in arguments], **options)


def steps_of_gray(image):
    return gray_steps(np.asarray(Image.fromarray(np.asarray(image)).convert("RGB")))


def chroma(image):
    return float(np.ptp(np.asarray(image.convert("RGB")).astype(int), axis=-1).mean())


def test_a_result_is_written_beside_its_photo_in_the_same_format(model, tmp_path):
    Image.fromarray(gray_picture()).save(tmp_path / "old.webp", lossless=True)
    result = invoke(tmp_path / "old.webp", "--model", model)
    assert result.exit_code == 0 and "1 photo coloured in" in result.stderr
    assert result.stdout == ""
    with Image.open(tmp_path / "old_color.webp") as image:
        assert image.format == "WEBP" and image.size == (60, 48) and chroma(image) > 5


def modes():
    """Returns the name and the bytes of a photo in every format and mode of photographs."""
    gray = gray_picture()
    image = Image.fromarray(gray)
    rgb = Image.merge("RGB", (image, image.point(lambda v: v * 0.9), image.point(lambda v: v / 2)))
    alpha = Image.fromarray(np.tile(np.arange(60, dtype=np.uint8) * 4, (48, 1)))
    sixteen = Image.fromarray(gray.astype(np.uint16) * 257)
    float_tiff = Image.fromarray((gray / 255).astype(np.float32))
    turned = Image.Exif()
    turned[0x0112] = 6
    photos = {
        "gray.jpg": encode(image, "JPEG"),
        "rgb.jpg": encode(rgb, "JPEG"),
        "cmyk.jpg": encode(rgb.convert("CMYK"), "JPEG"),
        "turned.jpg": encode(image, "JPEG", exif=turned),
        "gray.png": encode(image),
        "bits.png": encode(image.convert("1")),
        "palette.png": encode(rgb.quantize(16)),
        "sixteen.png": encode(sixteen),
        "alpha.png": encode(Image.merge("RGBA", (*rgb.split(), alpha))),
        "gray_alpha.png": encode(Image.merge("LA", (image, alpha))),
        "rgb.tif": encode(rgb, "TIFF"),
        "bits.tif": encode(image.convert("1"), "TIFF"),
        "sixteen.tif": encode(sixteen, "TIFF"),
        "float.tif": encode(float_tiff, "TIFF"),
        "cmyk.tif": encode(rgb.convert("CMYK"), "TIFF"),
        "rgb.webp": encode(rgb, "WEBP", lossless=True),
        "alpha.webp": encode(Image.merge("RGBA", (*rgb.split(), alpha)), "WEBP", lossless=True),
        "animated.gif": encode(image, "GIF", save_all=True, append_images=[image.rotate(90)]),
    }
    return photos


@pytest.mark.parametrize("name", modes())
def test_luminance_is_kept_for_photos_of_every_format_and_mode(colorizer, name, tmp_path):
    from colorjax.pictures import photo

    (tmp_path / name).write_bytes(modes()[name])
    before = photo.read_photo(tmp_path / name)
    after = colorizer.colorize(tmp_path / name)
    assert after.size == ((48, 60) if name == "turned.jpg" else (60, 48))
    assert np.abs(steps_of_gray(after.convert("RGB")) - steps_of_gray(before.rgb)).max() <= 1.0
    assert after.mode == ("RGBA" if "alpha" in name else "RGB")
    if "alpha" in name:
        np.testing.assert_array_equal(np.asarray(after)[..., 3], before.alpha)
    # Black and white themselves have no chroma.
    assert chroma(after) > 2 or name.startswith("bits")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_results_keep_luminance_in_every_output_format(model, suffix, tmp_path):
    Image.fromarray(gray_picture()).save(tmp_path / "old.png")
    result = invoke(tmp_path / "old.png", "--model", model, "-o", tmp_path / f"new.{suffix}")
    assert result.exit_code == 0
    with Image.open(tmp_path / f"new.{suffix}") as image:
        errors = np.abs(steps_of_gray(image.convert("RGB")) - gray_picture())
    lossless = suffix in ("png", "tif")
    assert errors.max() <= 1.0 if lossless else errors.mean() < 1.5


def test_a_batch_colours_what_it_can_and_reports_the_rest(model, tmp_path):
    folder = tmp_path / "album"
    (folder / "deep").mkdir(parents=True)
    for i, name in enumerate(("a.jpg", "b.png", "deep/c.tif")):
        Image.fromarray(gray_picture(40 + i, 50, seed=i)).save(folder / name)
    whole = encode(gray_picture(200, 300), "JPEG")
    bad = {
        "empty.jpg": (b"", "is empty (0 bytes)"),
        "text.jpg": (
            b"not a picture at all",
            "is not a JPEG, PNG, WebP, TIFF, BMP, HEIF, AVIF, JPEG 2000, JPEG XL or GIF picture",
        ),
        "cut.jpg": (whole[: len(whole) // 2], "is cut short"),
        "bomb.png": (png_that_claims(60000, 60000), "has more than the 150000000 pixels"),
    }
    for name, (data, _) in bad.items():
        (folder / name).write_bytes(data)
    result = invoke(folder, "-r", tmp_path / "no.jpg", "--model", model, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "3 photos coloured in" in result.stderr and "5 failed:" in result.stderr
    for name, (_, sentence) in bad.items():
        assert f"  {folder / name}: {sentence}" in result.stderr
    assert f"  {tmp_path / 'no.jpg'}: there is no such file" in result.stderr
    assert "Traceback" not in result.stderr
    written = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*"))
    assert written == ["a_color.jpg", "b_color.png", "deep/c_color.tif"]
    again = invoke(folder, "-r", "--model", model, "-o", tmp_path / "out", "--skip-existing")
    assert "0 photos coloured" in again.stderr and "3 skipped" in again.stderr


def test_a_truncated_file_is_read_if_that_is_allowed(model, tmp_path):
    whole = encode(gray_picture(200, 300), "JPEG")
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    result = invoke(tmp_path / "cut.jpg", "--model", model, "--allow-truncated")
    assert result.exit_code == 0 and "what is there was read" in result.stderr
    with Image.open(tmp_path / "cut_color.jpg") as image:
        assert image.size == (300, 200)


def test_a_broken_link_is_reported(model, tmp_path):
    (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    for named in (tmp_path / "a.jpg", tmp_path):
        result = invoke(named, "--model", model)
        assert result.exit_code == 1
        assert "a.jpg: cannot be read: No such file or directory" in result.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission_is_reported(model, tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode(gray_picture(), "JPEG"))
    (tmp_path / "a.jpg").chmod(0)
    result = invoke(tmp_path / "a.jpg", "--model", model)
    assert result.exit_code == 1 and "a.jpg: cannot be read: Permission denied" in result.stderr


def test_samples_are_numbered_and_differ(model, tmp_path):
    Image.fromarray(gray_picture()).save(tmp_path / "old.png")
    assert invoke(tmp_path / "old.png", "--model", model, "--samples", 3).exit_code == 0
    results = [np.asarray(Image.open(tmp_path / f"old_color_{i}.png")) for i in (1, 2, 3)]
    assert (results[0] != results[1]).any() and (results[1] != results[2]).any()
    assert not (tmp_path / "old_color_4.png").exists()


def test_compare_puts_before_and_after_side_by_side(model, tmp_path):
    Image.fromarray(gray_picture()).save(tmp_path / "old.png")
    assert invoke(tmp_path / "old.png", "--model", model, "--compare").exit_code == 0
    both = np.asarray(Image.open(tmp_path / "old_color.png"))
    assert both.shape == (48, 121, 3)
    np.testing.assert_array_equal(both[:, :60], np.repeat(gray_picture()[..., None], 3, -1))
    assert (both[:, 60] == 255).all() and np.ptp(both[:, 61:].astype(int), axis=-1).mean() > 5


def test_a_grid_shows_the_photo_and_the_results_of_several_settings(model, tmp_path):
    Image.fromarray(gray_picture(900, 600)).save(tmp_path / "old.png")
    assert invoke(tmp_path / "old.png", "--model", model, "--grid").exit_code == 0
    with Image.open(tmp_path / "old_color.png") as sheet:
        width, height = sheet.size
        assert width == 4 * (320 + 8) + 8 and height == 3 * (480 + 26 + 8)


def test_a_piped_photo_gives_a_picture_on_stdout_and_nothing_else(model):
    done = subprocess.run(
        [sys.executable, "-m", "colorjax", "-", "--model", model],
        input=encode(gray_picture(), "JPEG"),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO(done.stdout)) as image:
        assert image.format == "PNG" and image.size == (60, 48)
    failed = subprocess.run(
        [sys.executable, "-m", "colorjax", "-", "--model", model],
        input=b"text",
        capture_output=True,
    )
    assert failed.returncode == 1 and failed.stdout == b""
    assert b"standard input: is not a JPEG" in failed.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["a.jpg", "--overwrite", "--skip-existing"], "exclude each other"),
        (["a.jpg", "--grid", "--samples", "2"], "--grid cannot be combined"),
        (["a.jpg", "--samples", "2", "--decode", "mean"], "want --decode sample, not mean"),
        (["-", "-o", "-", "--samples", "2"], "want one photo"),
        (["a.jpg", "--decode", "best"], "'best' is not one of"),
        (["--overwrite"], "Missing argument"),
    ],
)
def test_invalid_and_contradictory_options_are_refused(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(encode(gray_picture(), "JPEG"))
    result = invoke(*arguments)
    assert result.exit_code == 2 and message in result.stderr.replace("\n", " ")


def test_a_missing_model_or_device_is_a_one_sentence_error(model, tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode(gray_picture(), "JPEG"))
    result = invoke(tmp_path / "a.jpg", "--model", tmp_path / "none")
    assert result.exit_code == 2
    assert f"Error: {tmp_path / 'none'}: there is no such model" in result.stderr
    result = invoke(tmp_path / "a.jpg", "--model", model, "--device", "gpu:7")
    assert result.exit_code == 2 and "device is 'gpu:7'" in result.stderr


@pytest.mark.parametrize(
    ("argument", "status", "message"),
    [
        ("--help", 0, "colorjax photo.jpg --samples 4"),
        ("--version", 0, "colorjax, version"),
        ("mesure", 2, "did you mean 'measure'?"),
    ],
)
def test_help_version_and_a_mistyped_name_load_no_heavy_library(argument, status, message):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "colorjax", argument],
        capture_output=True,
        text=True,
    )
    assert done.returncode == status and message in done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    heavy = "jax jaxlib flax numpy PIL tqdm safetensors jaxtyping gradio matplotlib optax orbax"
    assert "click" in loaded and not loaded & set(heavy.split())


def test_choices_are_those_of_the_library():
    from colorjax.coloring import settings
    from colorjax.ops import decoding
    from colorjax.pictures import writing

    assert command.METHODS == decoding.METHODS and command.EDGES == settings.EDGES
    assert {f".{name}" for name in command.FORMATS} <= set(writing.SUFFIXES)


def test_arrays_images_paths_and_bytes_give_the_same_picture(colorizer, tmp_path):
    gray = gray_picture()
    (tmp_path / "old.png").write_bytes(encode(gray))
    sources = [
        gray,
        np.repeat(gray[..., None], 3, -1),
        Image.fromarray(gray),
        tmp_path / "old.png",
        encode(gray),
    ]
    first, *others = (np.asarray(colorizer.colorize(source)) for source in sources)
    for other in others:
        np.testing.assert_array_equal(first, other)
    (array,) = colorizer.colorize_arrays([gray])
    np.testing.assert_array_equal(first, array)


def test_colorize_many_keeps_the_order_of_pictures(colorizer):
    photos = [gray_picture(30 + 7 * (i % 3), 60, seed=i) for i in range(5)]
    results = list(colorizer.colorize_many(iter(photos), at_once=4, saturation=1.2))
    assert [image.size for image in results] == [photo.shape[::-1] for photo in photos]
    for photo, image in zip(photos, results, strict=True):
        assert np.abs(steps_of_gray(image) - photo).max() <= 1.0


def test_colorize_many_continues_after_a_bad_picture(colorizer, tmp_path):
    photos = [gray_picture(seed=i) for i in range(4)]
    mixed = [photos[0], b"text", photos[1], tmp_path / "none.png", photos[2]]
    results = list(colorizer.colorize_many(mixed, at_once=3, errors="return"))
    assert [isinstance(result, UserError) for result in results] == [0, 1, 0, 1, 0]
    assert "is not a JPEG" in str(results[1]) and "none.png" in str(results[3])
    for i, result in enumerate(results[::2]):
        np.testing.assert_array_equal(result, colorizer.colorize(photos[i]))
    assert all(isinstance(r, UserError) for r in colorizer.colorize_many([b""], errors="return"))


@pytest.mark.parametrize(
    "bad, error, options",
    [(b"text", UserError, {}), (np.zeros((4, 4)), ValueError, {"errors": "return"})],
)
def test_an_error_is_raised_after_the_results_before_it(colorizer, bad, error, options):
    results = colorizer.colorize_many([gray_picture(), gray_picture(seed=1), bad], **options)
    assert [next(results).size, next(results).size] == [(60, 48), (60, 48)]
    with pytest.raises(error):
        next(results)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"at_once": 0}, "at_once is 0"),
        ({"errors": "skip"}, "errors is 'skip', want one of"),
        ({"saturation": -1}, "saturation"),
    ],
)
def test_colorize_many_refuses_wrong_settings_at_once(colorizer, options, message):
    with pytest.raises(UserError, match=message):
        colorizer.colorize_many([], **options)


def test_a_colorizer_is_pickled_by_its_arguments(model, monkeypatch, tmp_path):
    monkeypatch.chdir(Path(model).parent)
    original = api.Colorizer(Path(model).name, size=32)
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps(original)
    assert len(data) < 1000
    photo = gray_picture()
    np.testing.assert_array_equal(
        pickle.loads(data).colorize(photo, saturation=2), original.colorize(photo, saturation=2)
    )


def test_an_image_keeps_its_metadata(colorizer, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "a street"
    data = encode(gray_picture(), "JPEG", exif=exif, dpi=(300, 300))
    image = colorizer.colorize(data)
    assert image.info["dpi"] == (300, 300)
    loaded = Image.Exif()
    loaded.load(image.info["exif"])
    assert loaded[0x010E] == "a street"


def test_data_that_is_no_picture_is_refused(colorizer):
    with pytest.raises(ValueError, match="want uint8"):
        colorizer.colorize(np.zeros((4, 4, 3)))
    with pytest.raises(UserError, match="picture: is not a JPEG"):
        colorizer.colorize(b"text")


def test_an_exported_run_colours_like_the_run(tmp_path):
    network = tiny_network()
    run = save_run(tmp_path / "run", network)
    file = tmp_path / "model.safetensors"
    assert invoke("export", run, "-o", file).exit_code == 0
    photo = gray_picture()
    by_run, by_file = (np.asarray(api.Colorizer(m).colorize(photo), int) for m in (run, file))
    # Kernels are rounded to float16.
    assert np.abs(by_run - by_file).mean() < 1
    result = invoke("export", tmp_path / "none", "-o", file)
    assert result.exit_code == 2 and "is not a run's folder" in result.stderr


def test_the_bundled_model_paints_the_sky_blue_but_not_the_forest():
    sample = Path(cli.__file__).parent / "data" / "sample" / "mountain_lake.jpg"
    gray = Image.open(sample).convert("L")
    result = np.asarray(api.Colorizer().colorize(gray), np.float32) / 255
    _, u, v = np.moveaxis(np.asarray(color.rgb_to_luv(result)), -1, 0)
    sky, forest = (slice(0, 40), slice(None)), (slice(170, 190), slice(None))
    assert u[sky].mean() < -10 and v[sky].mean() < -30
    assert np.abs(v[forest]).mean() < 0.4 * np.abs(v[sky]).mean()
    assert np.abs(steps_of_gray(np.uint8(result * 255 + 0.5)) - np.asarray(gray)).max() <= 1.0


def test_the_command_and_the_python_interface_give_the_same_pixels(model, colorizer, tmp_path):
    Image.fromarray(gray_picture()).save(tmp_path / "old.png")
    assert invoke(tmp_path / "old.png", "--model", model).exit_code == 0
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "old_color.png")),
        np.asarray(colorizer.colorize(tmp_path / "old.png")),
    )
