"""TFDS builders for the data sets (the paper, section 4).

`python -m colorjax.data.prepare` builds them from files that the user has downloaded manually. The
source `tfds:NAME` reads them. Neither needs TensorFlow.
"""

import abc
import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tqdm import tqdm

from colorjax.data.datasets import pictures
from colorjax.data.datasets.pictures import Picture
from colorjax.errors import UserError

# TFDS keeps a shard in memory while writing it.
SHARD_BYTES = 128 * 2**20


# A GeneratorBasedBuilder shuffles more than 1 GB of pictures with TensorFlow's file functions
# (tensorflow_datasets/core/shuffle.py). A ShardBasedBuilder writes them in the given order.
class PictureSet(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A data set of pictures, all in the split `train`, in an order that is as good as random.

    Features: `image`, the unchanged picture file, or a PNG if it is neither JPEG nor PNG;
    `file_name`, the name of the archive or folder and the path in it; and, if the data set has
    them, `label` or `category`. Duplicate and unreadable files are left out.
    """

    VERSION = tfds.core.Version("1.0.0")
    HOMEPAGE = ""
    CITATION = ""
    # Nothing is downloaded. By default, TFDS would look for checksums with a package that it does
    # not install.
    url_infos = None

    @abc.abstractmethod
    def find(self, folder: Path) -> list[Picture]:
        """Finds the data set's pictures, at least one, in the user's download folder.

        Raises:
          UserError: pictures are missing or incomplete.
        """

    def label(self, picture: Picture) -> dict[str, str | None]:
        """Returns the other features of a picture's example, besides the image and its name."""
        return {}

    def label_features(self) -> dict[str, tfds.features.FeatureConnector]:
        """Returns the feature types of `label`."""
        return {}

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"image": tfds.features.Image(), "file_name": tfds.features.Text()}
        return tfds.core.DatasetInfo(
            builder=self,
            description=inspect.getdoc(type(self)),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            features=tfds.features.FeaturesDict(features | self.label_features()),
        )

    def _shard_iterators_per_split(self, dl_manager) -> Mapping[str, Sequence[Any]]:
        selected = pictures.select(self.find(Path(dl_manager.manual_dir)))
        bar = tqdm(total=len(selected), desc="writing pictures", delay=1, disable=None)
        shards = split_into_shards(selected)
        return {tfds.Split.TRAIN: [functools.partial(self._examples, s, bar) for s in shards]}

    def _examples(self, shard: Sequence[Picture], bar: tqdm) -> Iterator[tuple[str, dict]]:
        with pictures.reader(shard) as read:
            for picture in shard:
                image = pictures.as_jpeg_or_png(read(picture), picture.key)
                example = {"image": image, "file_name": picture.key}
                yield picture.key, example | self.label(picture)
                bar.update()
        if bar.n == bar.total:
            bar.close()

    def missing_error(self, folder: Path, what: str) -> UserError:
        """Returns the error for missing downloads, with instructions where to get them."""
        return UserError(f"{folder}: holds no {what}; {self.MANUAL_DOWNLOAD_INSTRUCTIONS}")


def split_into_shards(selected: Sequence[Picture]) -> list[list[Picture]]:
    """Splits pictures into shards of at most SHARD_BYTES, or of a single picture."""
    shards: list[list[Picture]] = []
    size = SHARD_BYTES + 1
    for picture in selected:
        size += picture.size
        if size > SHARD_BYTES:
            shards.append([])
            size = picture.size
        shards[-1].append(picture)
    return shards


class MitScenes(PictureSet):
    """Urban and natural scenes of 256 x 256 pixels in eight categories, 2688 JPEG files.

    There is one config per category, and `all`. The paper uses Open Country (411 pictures by its
    count).
    """

    HOMEPAGE = "https://people.csail.mit.edu/torralba/code/spatialenvelope/"
    CITATION = (
        "A. Oliva and A. Torralba. Modeling the shape of the scene: a holistic representation of "
        "the spatial envelope. International Journal of Computer Vision 42(3), 145-175, 2001."
    )
    ARCHIVE = "spatial_envelope_256x256_static_8outdoorcategories"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"download {ARCHIVE}.zip from {HOMEPAGE} into that folder and leave it packed, "
        f"or unpack it to a folder {ARCHIVE}"
    )
    # Prefixes of the file names, as in opencountry_land352.jpg.
    CATEGORIES = {
        "coast": "coast",
        "forest": "forest",
        "highway": "highway",
        "insidecity": "inside_city",
        "mountain": "mountain",
        "opencountry": "open_country",
        "street": "street",
        "tallbuilding": "tall_building",
    }
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("all", *CATEGORIES.values())]

    def find(self, folder: Path) -> list[Picture]:
        wanted = self.builder_config.name
        found = [
            picture
            for picture in pictures.list_pictures(_find_archive(self, folder, self.ARCHIVE))
            if _category(picture) in ([wanted] if wanted != "all" else self.CATEGORIES.values())
        ]
        if not found:
            raise self.missing_error(folder, f"picture of {wanted} in {self.ARCHIVE}")
        return found

    def label(self, picture: Picture) -> dict[str, str | None]:
        return {"label": _category(picture)}

    def label_features(self) -> dict[str, tfds.features.FeatureConnector]:
        return {"label": tfds.features.ClassLabel(names=list(self.CATEGORIES.values()))}


def _category(picture: Picture) -> str | None:
    start = picture.name.rpartition("/")[2].partition("_")[0]
    return MitScenes.CATEGORIES.get(start.lower())


class McgillColor(PictureSet):
    """The McGill calibrated colour image database: natural scenes as TIFF files, by category.

    The files hold the camera's values, which are treated as sRGB: the calibration is a separate
    function, which is not applied here. Pictures are stored as PNG. `category` is the name of the
    archive or folder that contains the picture.
    """

    HOMEPAGE = "http://tabby.vision.mcgill.ca/html/browsedownload.html"
    CITATION = (
        "A. Olmos and F. A. A. Kingdom. A biologically inspired algorithm for the recovery of "
        "shading and reflectance images. Perception 33, 1463-1473, 2004."
    )
    FOLDER = "mcgill_color"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"download the TIFF archives of the categories from {HOMEPAGE} (or from the copy at "
        f"http://pirsquared.org/research/mcgilldb/) into a folder {FOLDER} in that folder, under "
        "any names; they may stay packed"
    )

    def find(self, folder: Path) -> list[Picture]:
        root = folder / self.FOLDER
        if not root.is_dir():
            raise self.missing_error(folder, f"folder {self.FOLDER}")
        containers = [p for p in sorted(root.iterdir()) if p.is_dir() or p.suffix.lower() == ".zip"]
        found = [picture for path in containers for picture in pictures.list_pictures(path)]
        if not found:
            raise self.missing_error(folder, f"archive with pictures in {self.FOLDER}")
        return found

    def label(self, picture: Picture) -> dict[str, str | None]:
        container = picture.container
        return {"category": container.name if container.is_dir() else container.stem}

    def label_features(self) -> dict[str, tfds.features.FeatureConnector]:
        return {"category": tfds.features.Text()}


class Mirflickr25k(PictureSet):
    """MIRFLICKR-25000: 25,000 photographs from Flickr under Creative Commons licences, JPEG."""

    HOMEPAGE = "https://press.liacs.nl/mirflickr/mirdownload.html"
    CITATION = (
        "M. J. Huiskes and M. S. Lew. The MIR Flickr retrieval evaluation. ACM International "
        "Conference on Multimedia Information Retrieval, 39-43, 2008."
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"download mirflickr25k.zip from {HOMEPAGE} into that folder and leave it packed, "
        "or unpack it to a folder mirflickr"
    )

    def find(self, folder: Path) -> list[Picture]:
        container = _find_archive(self, folder, "mirflickr25k", "mirflickr")
        found = pictures.list_pictures(container)
        if not found:
            raise self.missing_error(folder, f"pictures in {container.name}")
        return found


class ImagenetTen(PictureSet):
    """The training pictures of ten ILSVRC classes, as JPEG files.

    Only some of the paper's class names are names of ILSVRC classes. Each is mapped to one ILSVRC
    class: the first class, in the order of identifiers, whose list of names contains the paper's
    word in the same sense; or the most similar class if there is none.

    - spatula, school bus: `spatula`, `school bus`.
    - bear: `brown bear`, the first; black, polar and sloth bears follow.
    - book shelf: no match; `bookcase` is the most similar.
    - armor: `chain mail, ... chain armor`; breastplate and cuirass do not contain the word.
    - kangaroo: `wallaby, brush kangaroo`, the only kangaroo.
    - spider: `black and gold garden spider`, the first; barn and garden spiders, black widow,
      tarantula and wolf spider follow.
    - sweater: no match; `cardigan` is a kind of sweater, and a sweatshirt is less similar.
    - hair dryer: `hand blower, ... hair dryer`.
    - bird: `indigo bunting, ... indigo bird`, the only one of 59 bird classes with the word on its
      own.
    """

    HOMEPAGE = "https://www.image-net.org/challenges/LSVRC/2015/"
    CITATION = (
        "O. Russakovsky et al. ImageNet large scale visual recognition challenge. International "
        "Journal of Computer Vision 115(3), 211-252, 2015."
    )
    SYNSETS = {
        "n04270147": "spatula",
        "n04146614": "school bus",
        "n02132136": "bear",
        "n02870880": "book shelf",
        "n03000247": "armor",
        "n01877812": "kangaroo",
        "n01773157": "spider",
        "n02963159": "sweater",
        "n03483316": "hair dryer",
        "n01537544": "bird",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "it has to have the training pictures of ImageNet's CLS-LOC task "
        f"(with an account from {HOMEPAGE}) unpacked as train/{next(iter(SYNSETS))}/*.JPEG and so "
        f"on, a folder for each of {', '.join(SYNSETS)}"
    )
    # The layout of torchvision's ImageFolder, two layouts of Kaggle, and the folder `train` itself.
    _LAYOUTS = ("train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train", ".")

    def find(self, folder: Path) -> list[Picture]:
        trains = [folder / layout for layout in self._LAYOUTS]
        train = max(trains, key=lambda train: sum((train / s).is_dir() for s in self.SYNSETS))
        found = []
        for synset, name in self.SYNSETS.items():
            in_class = pictures.list_pictures(train / synset) if (train / synset).is_dir() else []
            if not in_class:
                raise self.missing_error(train, f"pictures of {name} ({synset})")
            found += in_class
        return found

    def label(self, picture: Picture) -> dict[str, str | None]:
        return {"label": self.SYNSETS[picture.container.name]}

    def label_features(self) -> dict[str, tfds.features.FeatureConnector]:
        return {"label": tfds.features.ClassLabel(names=list(self.SYNSETS.values()))}


PICTURE_SETS = (MitScenes, McgillColor, Mirflickr25k, ImagenetTen)


def _find_archive(builder: PictureSet, folder: Path, *names: str) -> Path:
    """Returns the first existing NAME.zip or NAME/ in a folder."""
    for name in names:
        for path in (folder / f"{name}.zip", folder / name):
            if path.exists():
                return path
    raise builder.missing_error(folder, f"{names[0]}.zip")
