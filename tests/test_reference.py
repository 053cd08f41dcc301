"""References: where their colours go, precedence of hints, and invalid references."""

import os
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from networks import save_run, tiny_network
from numpy.testing import assert_allclose, assert_array_equal
from pictures import encode, gray_steps
from PIL import Image

import colorjax
from colorjax import Colorizer, cli
from colorjax.coloring import colorize, hints, reference
from colorjax.coloring.network import shapes, transfer
from colorjax.coloring.settings import ColorSettings
from colorjax.commands.hinting import reference_source
from colorjax.errors import UserError
from colorjax.ops import color, correspondence
from colorjax.pictures.photo import Photo

SAMPLE = Path(colorjax.__file__).parent / "data" / "sample"
NAMES = ("astronaut", "coffee", "mountain_lake")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_run(tmp_path_factory.mktemp("model"), tiny_network()))


@pytest.fixture(scope="module")
def painter():
    return colorize.open_painter(tiny_network())


@pytest.fixture(scope="module")
def released():
    return Colorizer(size=96)


@pytest.fixture(scope="module")
def photos():
    opened = (Image.open(SAMPLE / f"{name}.jpg") for name in NAMES)
    return [np.asarray(one.convert("RGB").resize((96, 96))) for one in opened]


def patches(seed=0, shape=(64, 96)):
    """Rectangles of many colours, with noise: uint8 [*shape, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 226, (4, 6, 3), np.uint8)
    large = np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.NEAREST))
    return (large + rng.integers(-6, 7, (*shape, 1))).astype(np.uint8)


def grayed(rgb):
    return np.repeat(np.round(gray_steps(rgb))[..., None], 3, axis=-1).astype(np.uint8)


def psnr(found, truth):
    return 10 * np.log10(255**2 / np.mean((np.asarray(found, float) - truth) ** 2))


def coloured(painter, photo, other=None, **settings):
    if other is not None:
        settings["reference"] = reference.prepare_reference(painter, Photo(other))
    ((_, (result,)),) = colorize.colorize(painter, [photo], [ColorSettings(**settings)])
    return result


def chroma(rgb):
    return np.asarray(color.rgb_u8_to_luv(rgb))[..., 1:]


def test_a_photo_or_its_mirror_image_as_the_reference_restores_the_colours(released, photos):
    for photo in photos:
        gray = grayed(photo)
        alone = psnr(released.colorize(gray), photo)
        assert psnr(released.colorize(gray, reference=photo), photo) > alone + 4
        assert psnr(released.colorize(gray, reference=photo[:, ::-1]), photo) > alone + 2


def test_a_darkened_part_as_the_reference_restores_most_colours(released, photos):
    for photo in photos:
        gray, part = grayed(photo), (255 * (photo[10:90, 4:84] / 255) ** 1.2).astype(np.uint8)
        alone = psnr(released.colorize(gray), photo)
        assert psnr(released.colorize(gray, reference=part), photo) > alone + 1.5


def test_an_unrelated_reference_changes_little(released, photos):
    for photo, other in zip(photos, photos[1:] + photos[:1], strict=True):
        gray = grayed(photo)
        alone = np.asarray(released.colorize(gray))
        found = np.asarray(released.colorize(gray, reference=other))
        moved = np.hypot(*np.moveaxis(chroma(found) - chroma(alone), -1, 0)).mean()
        assert moved < 5
        # The closer the network's own colours are to the truth, the more PSNR a small change costs.
        assert psnr(found, photo) > psnr(alone, photo) - 2


def test_lightness_stays_that_of_the_photo(painter):
    photo = patches(0)
    result = coloured(painter, photo, patches(1))
    assert np.abs(gray_steps(result) - gray_steps(photo)).max() <= 1


def test_a_regression_network_takes_a_reference_too():
    painter = colorize.open_painter(tiny_network(objective="regression"))
    photo = patches()
    found = coloured(painter, photo, photo)
    assert psnr(found, photo) > psnr(coloured(painter, photo), photo) + 4


def test_a_prepared_reference_gives_the_same_result_as_its_picture(model):
    colorizer, photo = Colorizer(model), patches()
    given = colorizer.prepare_reference(patches(1))
    found = colorizer.colorize(photo, reference=given)
    assert_array_equal(found, colorizer.colorize(photo, reference=patches(1)))
    assert_array_equal(colorizer.prepare(photo).colorize(reference=given), found)
    with pytest.raises(UserError, match="^mine.jpg: is gray"):
        colorizer.prepare_reference(Photo(grayed(photo)), name="mine.jpg")


def test_a_prepared_picture_runs_the_encoder_once_for_all_references(model, monkeypatch):
    colorizer, photo, calls = Colorizer(model), patches(), []
    references = [colorizer.prepare_reference(patches(seed)) for seed in (0, 1)]
    prepared = colorizer.prepare(photo)
    painter = prepared._painter

    def counted(name):
        program = getattr(painter, name)
        return lambda *args: calls.append(name) or program(*args)

    counting = painter._replace(score=counted("score"), features=counted("features"))
    monkeypatch.setattr(prepared, "_painter", counting)
    prepared.colorize()
    alone = prepared.nbytes
    for given in references:
        for saturation in (0.5, 1.0):
            prepared.colorize(reference=given, saturation=saturation)
    prepared.colorize(reference=references[0], hints=[(5, 5, "#a04030")])
    assert calls == ["score", "features"]
    # The cached features count.
    assert prepared.nbytes > alone + references[0].levels[0].nbytes // 2


def test_hints_take_precedence_over_a_reference(painter):
    photo = patches()
    hint = hints.Hint(56, 24, "#a04030")
    result = coloured(painter, photo, photo, hints=(hint,))
    luv = np.append(color.rgb_u8_to_luv(photo[24, 56])[:1], chroma(np.array([160, 64, 48], "u1")))
    wanted = 255 * np.asarray(color.luv_to_rgb(color.fit_chroma(luv)))
    assert np.abs(result[24, 56] - wanted).max() <= 2
    # Far from the hint, the reference's colours stay.
    far = np.abs(result[:, 80:].astype(float) - coloured(painter, photo, photo)[:, 80:])
    assert (
        far.mean() < np.abs(result[:, 80:].astype(float) - coloured(painter, photo)[:, 80:]).mean()
    )


def test_a_reference_affects_only_the_settings_that_contain_it(painter):
    photo = patches()
    given = reference.prepare_reference(painter, Photo(patches(1)))
    settings = [ColorSettings(), ColorSettings(reference=given), ColorSettings(saturation=0.5)]
    ((_, results),) = colorize.colorize(painter, [photo], settings)
    assert_array_equal(results[0], coloured(painter, photo))
    assert_array_equal(results[2], coloured(painter, photo, saturation=0.5))
    assert_array_equal(results[1], coloured(painter, photo, patches(1)))


def test_photos_that_share_a_reference_get_the_same_results_as_alone(painter):
    many = colorize.open_painter(tiny_network(), batch_size=4)
    photos = [patches(seed) for seed in range(3)]
    given = ColorSettings(reference=reference.prepare_reference(many, Photo(patches(2))))
    for i, (found,) in colorize.colorize(many, photos, [given]):
        alone = coloured(painter, photos[i], patches(2))
        assert np.abs(found.astype(int) - alone).max() <= 1


def test_borders_and_16_bits_of_a_reference_make_no_difference(painter):
    plain = patches()
    framed = np.zeros((84, 116, 3), np.uint8)
    framed[10:74, 10:106] = plain
    want = reference.prepare_reference(painter, Photo(plain))
    for other in (framed, plain.astype(np.uint16) * 257):
        found = reference.prepare_reference(painter, Photo(other))
        jax.tree.map(assert_array_equal, found, want)


def test_transparent_parts_of_a_reference_give_no_colours(painter):
    alpha = np.full((64, 96), 255, np.uint8)
    alpha[:, 48:] = 0
    found = reference.prepare_reference(painter, Photo(patches(), alpha))
    height, width = transfer.cells(*shapes.network_shape(64, 96, painter.size))
    coverage = np.asarray(found.coverage)[: height * width].reshape(height, width)
    assert_array_equal(coverage, np.repeat([[1, 0]], height, axis=0).repeat(width // 2, axis=1))
    assert np.asarray(found.coverage).sum() == coverage.sum()
    with pytest.raises(UserError, match="transparent all over"):
        reference.prepare_reference(painter, Photo(patches(), 0 * alpha))


@pytest.mark.parametrize("shape", [(40, 300), (16, 16), (1, 1)])
def test_a_reference_may_have_any_proportions(painter, shape):
    result = coloured(painter, patches(), np.full((*shape, 3), (200, 60, 40), np.uint8))
    assert result.shape == (64, 96, 3)


def test_a_gray_reference_is_a_one_sentence_error(model):
    colorizer = Colorizer(model)
    for gray in (patches()[..., 0], Image.fromarray(grayed(patches()))):
        with pytest.raises(UserError, match="reference: is gray, or nearly so .*want a reference"):
            colorizer.colorize(patches(), reference=gray)


def test_every_python_method_that_colours_takes_a_reference(model, tmp_path):
    colorizer, photo, path = Colorizer(model), patches(), tmp_path / "other.png"
    Image.fromarray(patches(1)).save(path)
    one = np.asarray(colorizer.colorize(photo, reference=path))
    assert (one != np.asarray(colorizer.colorize(photo))).any()
    (many,) = colorizer.colorize_many([photo], reference=path)
    assert_array_equal(np.asarray(many), one)
    assert_array_equal(colorizer.colorize_arrays([photo], reference=patches(1))[0], one)
    colorizer.colorize_file(photo, tmp_path / "out.png", reference=path)
    assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), one)
    first, second = colorizer.samples(photo, 2, reference=path)
    assert (np.asarray(first) != np.asarray(second)).any()


def invoke(*arguments):
    return CliRunner().invoke(cli.main, [str(a) for a in arguments])


def test_the_command_takes_a_reference_for_all_its_photos(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a", 0), ("b", 1), ("r", 1)):
        Image.fromarray(patches(seed)).save(f"{name}.png")
    done = invoke("a.png", "b.png", "--reference", "r.png", "--model", model)
    assert done.exit_code == 0, done.stderr
    want = Colorizer(model).colorize("b.png", reference="r.png")
    assert_array_equal(np.asarray(Image.open("b_color.png")), np.asarray(want))
    assert psnr(Image.open("b_color.png"), patches(1)) > psnr(Image.open("a_color.png"), patches(0))


def test_an_invalid_reference_is_a_one_sentence_error_and_writes_nothing(
    model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(patches()).save("a.png")
    Image.fromarray(grayed(patches())).save("gray.png")
    Path("text.jpg").write_text("no picture")
    for name, message in (
        ("none.jpg", "none.jpg: "),
        ("text.jpg", "text.jpg: "),
        ("gray.png", "gray.png: is gray, or nearly so"),
        (".", ".: "),
        ("-", "--reference is a file: standard input is for a photo"),
    ):
        done = invoke("a.png", "--reference", name, "--model", model)
        assert done.exit_code != 0 and message in " ".join(done.stderr.split()), done.stderr
        assert "Traceback" not in done.stderr and isinstance(done.exception, SystemExit)
        assert not Path("a_color.png").exists()


def test_a_reference_may_come_through_a_pipe_which_is_read_once(tmp_path):
    picture, pipe = encode(patches()), str(tmp_path / "pipe")
    os.mkfifo(pipe)
    writer = threading.Thread(target=Path(pipe).write_bytes, args=(picture,))
    writer.start()
    found = reference_source(pipe)
    writer.join()
    assert found == picture


def test_a_cell_is_most_similar_to_itself_and_takes_its_own_value():
    rng = np.random.default_rng(0)
    levels = [rng.normal(size=(20, c)).astype(np.float32) for c in (8, 30)]
    found = correspondence.similarity(levels, levels, np.ones(20, np.float32))
    assert_allclose(np.diag(found), 1, atol=1e-5)
    assert np.abs(found).max() < 1 + 1e-5
    values = rng.normal(size=(20, 2)).astype(np.float32)
    transferred, similarity = correspondence.transfer(found, values, np.ones(20), temperature=0.01)
    assert_allclose(transferred, values, atol=1e-3)
    assert_allclose(similarity, 1, atol=1e-5)


def test_cells_without_coverage_give_nothing_and_match_nothing():
    similarities = np.array([[0.9, 0.1, 0.1]], np.float32)
    values = np.array([[100.0], [2.0], [4.0]], np.float32)
    transferred, similarity = correspondence.transfer(
        similarities, values, np.array([0.0, 1.0, 1.0])
    )
    assert_allclose(transferred, [[3.0]], atol=1e-4)
    assert_allclose(similarity, [0.1], atol=1e-6)
