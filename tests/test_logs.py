import json

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from colorjax.errors import UserError
from colorjax.training import logs
from colorjax.weights import runs


def write(workdir, start, steps):
    with logs.open_logs(workdir, start, writes=True) as log:
        for step in steps:
            logs.write_scalars(log, step, "train", {"loss": step / 2})


def tensorboard_events(workdir):
    """Yields every event of every file, decoded with TensorBoard's own message format."""
    for path in sorted((workdir / "tensorboard").iterdir()):
        data, offset = path.read_bytes(), 0
        while offset < len(data):  # TFRecord: length, its checksum, the event, its checksum
            length = int.from_bytes(data[offset : offset + 8], "little")
            yield Event.FromString(data[offset + 12 : offset + 12 + length])
            offset += 16 + length


def test_each_measurement_is_a_line_of_json_and_a_scalar_of_tensorboard(tmp_path):
    write(tmp_path, 0, [1, 2])
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [
        {"step": 1, "split": "train", "loss": 0.5},
        {"step": 2, "split": "train", "loss": 1.0},
    ]
    scalars = [
        (event.step, value.tag, value.simple_value)
        for event in tensorboard_events(tmp_path)
        for value in event.summary.value
    ]
    assert scalars == [(1, "train/loss", 0.5), (2, "train/loss", 1.0)]


def test_resuming_drops_what_comes_after_the_checkpoint(tmp_path):
    write(tmp_path, 0, [1, 2, 3, 4])
    write(tmp_path, 2, [3])
    assert [row["step"] for row in runs.read_metrics(tmp_path)] == [1, 2, 3]


def test_a_truncated_last_line_is_ignored(tmp_path):
    write(tmp_path, 0, [1, 2])
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-10])
    assert [row["step"] for row in runs.read_metrics(tmp_path)] == [1]


def test_pictures_are_written_to_tensorboard(tmp_path):
    with logs.open_logs(tmp_path, 0, writes=True) as log:
        logs.write_image(log, 3, "picture", np.zeros((4, 6, 3), np.uint8))
    images = [v.image for e in tensorboard_events(tmp_path) for v in e.summary.value]
    assert [(image.height, image.width) for image in images] == [(4, 6)]


def test_a_process_that_does_not_write_creates_no_files(tmp_path):
    with logs.open_logs(tmp_path, 0, writes=False) as log:
        logs.write_scalars(log, 1, "train", {"loss": 1.0})
        logs.write_image(log, 1, "picture", np.zeros((4, 6, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_a_missing_or_broken_record_gives_an_error_of_one_sentence(tmp_path):
    with pytest.raises(UserError, match="record.json is missing, so .* is not a run's folder"):
        runs.read_record(tmp_path)
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(UserError, match="record.json is not JSON"):
        runs.read_record(tmp_path)
