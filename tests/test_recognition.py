import json

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from networks import save_run, tiny_network
from PIL import Image
from test_assess import STATISTICS

from colorjax import cli
from colorjax.coloring.colorize import colorize, open_painter
from colorjax.coloring.settings import ColorSettings
from colorjax.data import places, sources
from colorjax.errors import UserError
from colorjax.models.efficientnet import EfficientNetLite, layer_shapes
from colorjax.ops import color, metrics
from colorjax.pictures import image_io
from colorjax.studies import assess, imagenet, recognition
from colorjax.studies.recognition import Predictions
from colorjax.weights import store
from colorjax.weights.published import pretrained
from colorjax.weights.published.efficientnet import PUBLISHED

RED, BLUE = imagenet.class_of("strawberry"), imagenet.class_of("blue jean")
FOLDERS = {
    "strawberry": (200, 60, 60),
    imagenet.classes()[BLUE].synset: (60, 60, 200),
    "others": (60, 200, 60),
}


def by_hue(rgb_u8):
    """A stub classifier: reddish is a strawberry; everything else, also gray, is blue jeans."""
    means = rgb_u8.astype(np.float32).mean(axis=(1, 2))
    return Predictions(np.where(means[:, 0] > means[:, 2] + 8, RED, BLUE), means)


@pytest.fixture(scope="module")
def network():
    return tiny_network()._replace(statistics=STATISTICS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four photos each of strawberries, of blue jeans and of no known class."""
    folder = tmp_path_factory.mktemp("things")
    rng = np.random.default_rng(0)
    for name, colour in FOLDERS.items():
        (folder / name).mkdir()
        for i in range(4):
            rgb = np.clip(colour + rng.normal(0, 20, (40, 56 + i, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(rgb).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def items(folder):
    return sources.open_folders(str(folder))


@pytest.fixture(scope="module")
def labels(folder, items):
    return recognition.known_classes(str(folder), items)


@pytest.fixture(scope="module")
def found(network, items, labels):
    return recognition.recognise({"ours": network}, items, labels, by_hue)


def test_the_class_of_a_photo_comes_from_its_folder(items, labels):
    wanted = dict(zip(FOLDERS, (RED, BLUE, None), strict=True))
    assert labels == [wanted[one.key.split("/")[0]] for one in items]


def test_top_1_is_the_share_of_labelled_photos_that_are_recognised(found):
    assert list(found) == ["truth", "gray", "mean chroma", "ours"]
    assert found["truth"]["top_1"] == 1.0 and found["gray"]["top_1"] == 0.5
    assert all(row["labelled"] == 8 for row in found.values())


def test_the_truth_wins_everything_back_and_has_distance_zero(found):
    assert found["truth"]["won_back"] == 1.0 and found["gray"]["won_back"] == 0.0
    assert found["truth"]["frechet_lite0"] == pytest.approx(0.0, abs=1e-6)
    assert found["gray"]["frechet_lite0"] > 1.0


def test_the_classifier_gets_the_same_pictures_as_users(network, items):
    photo = image_io.read_rgb(items[0].data)
    painter = open_painter(network)
    truth, gray, mean, ours = recognition.in_colours({"ours": painter}, np.zeros(2), photo)
    ((_, (want,)),) = colorize(painter, [photo], [ColorSettings()])
    np.testing.assert_array_equal(truth, photo)
    np.testing.assert_array_equal(ours, want)
    np.testing.assert_array_equal(gray, mean)
    want = np.asarray(color.gray_from_rgb(photo / np.float32(255)))
    np.testing.assert_allclose(gray, np.repeat(want, 3, axis=-1), atol=0.6)


def test_the_mean_chroma_baseline_gives_every_pixel_that_chroma(network):
    gray = np.full((16, 16, 3), 128, np.uint8)
    chroma = np.array([20.0, -30.0])
    pictures = recognition.in_colours({"ours": open_painter(network)}, chroma, gray)
    luv = color.rgb_u8_to_luv(list(pictures)[2])
    np.testing.assert_allclose(luv[..., 1:], np.broadcast_to(chroma, (16, 16, 2)), atol=1.0)


def test_square_crops_the_centre_and_scales_it_to_the_classifiers_size():
    ramp = np.arange(448, dtype=np.float32) / 447 * 255  # across the square
    rgb = np.zeros((448, 600, 3), np.uint8)
    rgb[:, 76:524] = np.round(ramp)[:, None]
    want = ramp.reshape(224, 2).mean(axis=1)[:, None]
    found = recognition.square(rgb)
    assert found.shape == (224, 224, 3)
    want = np.broadcast_to(want, found.shape)
    np.testing.assert_allclose(found[:, 4:-4], want[:, 4:-4], atol=1.2)
    np.testing.assert_array_equal(found.swapaxes(0, 1), recognition.square(rgb.swapaxes(0, 1)))
    assert recognition.square(rgb[:100]).shape == (224, 224, 3)


def test_without_labels_only_the_distance_is_measured():
    rng = np.random.default_rng(0)
    features = {row: rng.normal(size=(6, 4)) for row in ("truth", "gray", "ours")}
    predictions = {row: Predictions(np.zeros(6, int), x) for row, x in features.items()}
    found = recognition.summarize(predictions, None)
    distance = metrics.frechet_distance(features["ours"], features["truth"])
    assert found["ours"] == {"frechet_lite0": distance}


def test_won_back_is_undefined_where_gray_is_recognised_as_well_as_the_truth():
    assert recognition.won_back(0.5, gray=0.4, truth=0.8) == pytest.approx(0.25)
    assert recognition.won_back(0.3, gray=0.4, truth=0.8) < 0
    assert recognition.won_back(0.5, gray=0.8, truth=0.8) is None


def test_a_folder_of_one_class_can_be_given_directly(folder):
    items = sources.open_folders(str(folder / "strawberry"))
    assert set(recognition.known_classes("it", items)) == {RED}


def test_photos_of_no_known_class_are_refused(folder, items):
    unknown = sources.open_folders(str(folder / "others"))
    with pytest.raises(UserError, match="^others: none of its 4 photographs has a folder or file"):
        recognition.known_classes("others", unknown)
    with pytest.raises(UserError, match="none of its 12 photographs is in the table of labels"):
        recognition.known_classes("it", items, {"elsewhere.png": 0})


def test_one_photo_is_too_few_for_a_distance(network, items):
    with pytest.raises(UserError, match="1 photograph has no Frechet distance"):
        recognition.recognise({"ours": network}, items[:1], None, by_hue)


def test_the_classifier_returns_the_likeliest_class_and_pooled_features():
    width, rng = 1 / 8, np.random.default_rng(0)
    params = {
        name: {"kernel": rng.normal(0, 0.3, shape), "bias": rng.normal(size=shape[-1])}
        for name, shape in layer_shapes(width, classifier=True).items()
    }
    rgb = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    got = recognition.classifier_of(params, width)(rgb)
    taps = jax.jit(EfficientNetLite(width, classifier=True).apply)({"params": params}, rgb)
    np.testing.assert_array_equal(got.classes, np.argmax(taps["logits"], axis=-1))
    np.testing.assert_allclose(got.features, taps["pooled"], rtol=1e-4, atol=1e-6)


def measure(folder, network, tmp_path, *options):
    run = save_run(tmp_path / "run", network)
    return CliRunner().invoke(
        cli.main, ["measure", str(folder), "--model", f"tiny={run}", "--size", "32", *options]
    )


@pytest.fixture
def stubs(monkeypatch):
    """Replaces the other measurements, which `test_assess` tests, and the classifier by stubs."""
    row = dict.fromkeys(assess.SHOWN, 0.25)

    def measured(networks, photos, size):
        return dict.fromkeys(["gray", "mean chroma", *networks], row)

    monkeypatch.setattr(assess, "assess", measured)
    monkeypatch.setattr(recognition, "open_classifier", lambda: by_hue)


def test_the_command_adds_columns_and_a_row_for_the_truth(folder, network, tmp_path, stubs):
    file = tmp_path / "found.json"
    result = measure(folder, network, tmp_path, "--recognise", "--json", str(file))
    assert result.exit_code == 0, result.stderr
    assert "| delta colorfulness | top-1 | won back | Frechet (Lite0) |" in result.stdout
    assert f"\n| truth |{'  |' * len(assess.SHOWN)} 1 | 1 | 0 |\n" in result.stdout
    assert f"\n| gray |{' 0.25 |' * len(assess.SHOWN)} 0.5 | 0 | " in result.stdout
    assert "4 of 12 (33%) are of no known class" in result.stdout and "not FID" in result.stdout
    rows = json.loads(file.read_text())["folders"][str(folder)]
    assert list(rows) == ["truth", "gray", "mean chroma", "tiny"]
    assert rows["truth"]["top_1"] == 1.0 and "psnr" not in rows["truth"]
    assert rows["tiny"]["psnr"] == 0.25 and rows["tiny"]["frechet_lite0"] > 0


def recording(received):
    """Returns a stub for `recognise` that adds the labels it gets to a list."""

    def recognise(networks, photos, labels, classifier):
        received.append(labels)
        return {row: {"frechet_lite0": 1.5} for row in ("truth", *networks)}

    return recognise


def test_the_command_takes_classes_from_a_table(folder, network, tmp_path, stubs, monkeypatch):
    monkeypatch.setattr(recognition, "recognise", recording(received := []))
    table = tmp_path / "labels.csv"
    table.write_text("others/0.png,strawberry\nothers/1.png,blue jean\n")
    result = measure(folder, network, tmp_path, "--recognise", "--labels", str(table))
    assert result.exit_code == 0, result.stderr
    assert "10 of 12 (83%) are of no known class" in result.stdout
    keys = [one.key for one in sources.open_folders(str(folder))]
    known = {key: label for key, label in zip(keys, received[0], strict=True) if label is not None}
    assert known == {"others/0.png": RED, "others/1.png": BLUE}


def test_the_command_measures_the_distance_without_known_classes(
    folder, network, tmp_path, stubs, monkeypatch
):
    monkeypatch.setattr(recognition, "recognise", recording(received := []))
    refused = measure(folder / "others", network, tmp_path, "--recognise")
    assert refused.exit_code == 2 and "--frechet alone needs none" in refused.stderr
    result = measure(folder / "others", network, tmp_path, "--frechet")
    assert result.exit_code == 0, result.stderr
    assert received == [None]
    assert "| Frechet (Lite0) |" in result.stdout and "top-1" not in result.stdout


def test_the_command_reports_in_one_sentence_that_weights_are_unavailable(
    folder, network, tmp_path, monkeypatch
):
    def fail(published):
        raise UserError("example.org could not be reached")

    monkeypatch.setenv("COLORJAX_HOME", str(tmp_path))
    monkeypatch.setattr(pretrained, "fetch", fail)
    result = measure(folder, network, tmp_path, "--recognise")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: The ImageNet weights are not cached: example.org could not be reached\n"
    )
    assert "PSNR" not in result.stdout  # the error comes before any measurement


def test_labels_without_recognise_are_refused(folder, network, tmp_path):
    result = measure(folder, network, tmp_path, "--labels", "labels.csv")
    assert result.exit_code == 2 and "--labels is for --recognise" in result.stderr


@pytest.fixture(scope="module")
def classifier():
    if not store.cached_path(PUBLISHED).is_file():
        pytest.skip("the weights of EfficientNet-Lite0 are not in the cache")
    return recognition.open_classifier()


def test_the_published_network_recognises_bundled_photographs(classifier):
    wanted = {
        "cat": "Egyptian cat",
        "otter": "otter",
        "coffee": "espresso",
        "mountain_lake": "lakeside",
    }
    photos = [image_io.read_rgb(places.SAMPLE_FOLDER / f"{name}.jpg") for name in wanted]
    got = classifier(np.stack([recognition.square(one) for one in photos]))
    assert got.classes.tolist() == [imagenet.class_of(name) for name in wanted.values()]
    assert got.features.shape == (4, 1280) and got.features.min() >= 0
