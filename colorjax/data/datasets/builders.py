"""The data sets (the paper, section 4) as TFDS builders.

They are made from what a user has downloaded by hand, by `python -m colorjax.data.prepare`, and
read as `tfds:NAME`. TensorFlow is needed for neither.
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

# TFDS holds one shard in memory while it is written.
SHARD_BYTES = 128 * 2**20


# A GeneratorBasedBuilder sorts more than 1 GB of pictures through TensorFlow's file functions
# (tensorflow_datasets/core/shuffle.py). This one writes them in the order that it is given.
class PictureSet(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A data set of pictures, all in the split `train`, in an order as good as random.

    Features: `image`, the picture file as it is, or as PNG if it is neither JPEG nor PNG;
    `file_name`, the archive's or folder's name and the path in it; and, where the data set has
    them, `label` or `category`. Second copies of a file and unreadable ones are left out.
    """

    VERSION = tfds.core.Version("1.0.0")
    HOMEPAGE = ""
    CITATION = ""
    # Nothing is downloaded. (TFDS would look for checksums, by means of a package that it lacks.)
    url_infos = None

    @abc.abstractmethod
    def find(self, folder: Path) -> list[Picture]:
        """The data set's pictures among a user's downloads, at least one.

        Raises:
          UserError: they are not there, or not whole.
        """

    def label(self, picture: Picture) -> dict[str, str | None]:
        """What the example of a picture holds beside the picture and its name."""
        return {}

    def label_features(self) -> dict[str, tfds.features.FeatureConnector]:
        """The features of what `label` gives."""
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
        chosen = pictures.select(self.find(Path(dl_manager.manual_dir)))
        bar = tqdm(total=len(chosen), desc="writing pictures", delay=1, disable=None)
        shards = [functools.partial(self._examples, shard, bar) for shard in cut(chosen)]
        return {tfds.Split.TRAIN: shards}

    def _examples(self, shard: Sequence[Picture], bar: tqdm) -> Iterator[tuple[str, dict]]:
        with pictures.reader(shard) as read:
            for picture in shard:
                image = pictures.as_jpeg_or_png(read(picture), picture.key)
                example = {"image": image, "file_name": picture.key}
                yield picture.key, example | self.label(picture)
                bar.update()
        if bar.n == bar.total:
            bar.close()

    def missing(self, folder: Path, what: str) -> UserError:
        """The error that says what a folder lacks and where it is to be had."""
        return UserError(f"{folder}: holds no {what}; {self.MANUAL_DOWNLOAD_INSTRUCTIONS}")


def cut(chosen: Sequence[Picture]) -> list[list[Picture]]:
    """Cuts a sequence into runs of at most SHARD_BYTES, or of one picture."""
    runs: list[list[Picture]] = []
    size = SHARD_BYTES + 1
    for picture in chosen:
        size += picture.size
        if size > SHARD_BYTES:
            runs.append([])
            size = picture.size
        runs[-1].append(picture)
    return runs


class MitScenes(PictureSet):
    """Urban and natural scenes of 256 x 256 pixels in eight categories, 2688 JPEG files.

    One config a category, and `all`. The paper takes Open Country (411 pictures in its count).
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
    # What the files' names begin with, as in opencountry_land352.jpg.
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
            for picture in pictures.list_pictures(_archive(self, folder, self.ARCHIVE))
            if _category(picture) in ([wanted] if wanted != "all" else self.CATEGORIES.values())
        ]
        if not found:
            raise self.missing(folder, f"picture of {wanted} in {self.ARCHIVE}")
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

    The files hold what the camera gave, and are taken for sRGB: the calibration is a function that
    comes beside them, and is not applied here. They are stored as PNG. `category` is the name of
    the archive or folder that a picture is in.
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
        own = folder / self.FOLDER
        if not own.is_dir():
            raise self.missing(folder, f"folder {self.FOLDER}")
        places = [p for p in sorted(own.iterdir()) if p.is_dir() or p.suffix.lower() == ".zip"]
        found = [picture for place in places for picture in pictures.list_pictures(place)]
        if not found:
            raise self.missing(folder, f"archive with pictures in {self.FOLDER}")
        return found

    def label(self, picture: Picture) -> dict[str, str | None]:
        place = picture.place
        return {"category": place.name if place.is_dir() else place.stem}

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
        place = _archive(self, folder, "mirflickr25k", "mirflickr")
        found = pictures.list_pictures(place)
        if not found:
            raise self.missing(folder, f"pictures in {place.name}")
        return found


class ImagenetTen(PictureSet):
    """The training pictures of ten ILSVRC classes, as JPEG files.

    The paper names its classes in words of its own, and only some are names of ILSVRC classes. One
    class is taken for each: that whose list of names has the paper's word for a thing of that
    kind, the first in the order of the identifiers if there are several; and if none has it, the
    nearest.

    - spatula, school bus: `spatula`, `school bus`.
    - bear: `brown bear` comes before black, polar and sloth bears.
    - book shelf: none; `bookcase`.
    - armor: `chain mail, ... chain armor`; breastplate and cuirass have not the word.
    - kangaroo: `wallaby, brush kangaroo`, the only kangaroo.
    - spider: `black and gold garden spider` comes before barn and garden spiders, black widow,
      tarantula and wolf spider.
    - sweater: none; `cardigan`, a kind of sweater; a sweatshirt is farther off.
    - hair dryer: `hand blower, ... hair dryer`.
    - bird: of 59 bird classes only `indigo bunting, ... indigo bird` has the word for itself.
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
    # As torchvision's ImageFolder has it, as Kaggle packs it, and the folder `train` itself.
    _LAYOUTS = ("train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train", ".")

    def find(self, folder: Path) -> list[Picture]:
        trains = [folder / layout for layout in self._LAYOUTS]
        train = max(trains, key=lambda train: sum((train / s).is_dir() for s in self.SYNSETS))
        found = []
        for synset, name in self.SYNSETS.items():
            in_class = pictures.list_pictures(train / synset) if (train / synset).is_dir() else []
            if not in_class:
                raise self.missing(train, f"pictures of {name} ({synset})")
            found += in_class
        return found

    def label(self, picture: Picture) -> dict[str, str | None]:
        return {"label": self.SYNSETS[picture.place.name]}

    def label_features(self) -> dict[str, tfds.features.FeatureConnector]:
        return {"label": tfds.features.ClassLabel(names=list(self.SYNSETS.values()))}


PICTURE_SETS = (MitScenes, McgillColor, Mirflickr25k, ImagenetTen)


def _archive(builder: PictureSet, folder: Path, *names: str) -> Path:
    """The first of NAME.zip and NAME/ that is in a folder."""
    for name in names:
        for place in (folder / f"{name}.zip", folder / name):
            if place.exists():
                return place
    raise builder.missing(folder, f"{names[0]}.zip")
