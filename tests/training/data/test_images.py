"""From a folder of images to a table of them."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from vae_detect.runtime.bundle import Image
from vae_detect.runtime.errors import InputError
from vae_detect.training.data.images import load_images


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (10, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five grey images, the brighter the later."""
    for number in range(5):
        picture(tmp_path / "images" / f"{number}.png", (40 * number,) * 3)
    return tmp_path / "images"


def test_images_are_read_in_the_order_of_their_names(folder: Path) -> None:
    found = load_images(folder, (8, 12), "grey")
    assert (found.values.shape, found.values.dtype) == ((5, 8, 12, 1), np.dtype(np.uint8))
    assert found.values[:, 0, 0, 0].tolist() == [0, 40, 80, 120, 160]
    assert found.image == Image(8, 12, "grey")
    assert (found.names, found.time_column, found.period_s) == (("grey",), None, None)
    assert found.segment.tolist() == [0] * 5
    assert (found.notes, found.classes, found.class_of) == ([], (), None)


def test_one_number_is_height_and_width(folder: Path) -> None:
    assert load_images(folder, (16,), "colour").image == Image(16, 16, "colour")


@pytest.mark.parametrize(
    ("colour", "asked", "expected"),
    [
        ((200, 50, 50), "auto", "colour"),
        ((100, 110, 120), "auto", "grey"),  # a tint of 20 grey levels is what cameras add
        ((100, 110, 130), "auto", "colour"),
        ((200, 50, 50), "grey", "grey"),
        ((90, 90, 90), "colour", "colour"),
    ],
)
def test_the_mode_is_that_of_the_images_unless_told(
    folder: Path, colour: tuple[int, int, int], asked: str, expected: str
) -> None:
    picture(folder / "9.png", colour)
    found = load_images(folder, (8, 8), asked)
    assert found.image == Image(8, 8, expected)  # type: ignore[arg-type]
    assert found.names == (("grey",) if expected == "grey" else ("red", "green", "blue"))
    if expected == "colour":
        assert found.values[-1, 0, 0].tolist() == list(colour)


def test_of_a_folder_with_train_and_test_only_train_is_read(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "good" / "0.png", (10, 10, 10))
    picture(tmp_path / "test" / "broken" / "0.png", (200, 200, 200))
    picture(tmp_path / "1.png", (200, 200, 200))
    assert load_images(tmp_path, (8, 8), "grey").values[:, 0, 0, 0].tolist() == [10]


def test_folders_are_classes_where_they_are_wanted(tmp_path: Path) -> None:
    for number, name in enumerate(["nut/a", "bolt/a", "nut/b", "nut/small/a"]):
        picture(tmp_path / f"{name}.png", (10 * number,) * 3)
    found = load_images(tmp_path, (8, 8), "grey", by_class=True)
    assert found.classes == ("bolt", "nut", "nut/small")
    assert found.class_of is not None
    assert found.values[:, 0, 0, 0].tolist() == [10, 0, 20, 30]  # bolt/a, nut/a, nut/b, nut/small/a
    assert found.class_of.tolist() == [0, 1, 1, 2]


def test_one_folder_is_no_classes(folder: Path) -> None:
    with pytest.raises(InputError, match="recipe cvae takes the folders of images as their classes, expected at least"):
        load_images(folder, (8, 8), "grey", by_class=True)


@pytest.mark.parametrize(("bad", "refused"), [(1, False), (2, True)])
def test_damaged_images_are_left_out_up_to_a_fifth(folder: Path, bad: int, refused: bool) -> None:
    for number in range(bad):
        (folder / f"x{number}.png").write_bytes(b"no image")
    if not refused:
        found = load_images(folder, (8, 8), "auto")
        assert len(found.values) == 5
        assert found.notes == [
            "1 of 6 images left out (first: x0.png is no image: expected PNG, JPEG, BMP, TIFF, WebP or GIF)"
        ]
        return
    with pytest.raises(
        InputError, match=r"2 of 7 images left out \(first: x0\.png .*more than a fifth is too much, mend"
    ):
        load_images(folder, (8, 8), "auto")


def test_a_link_out_of_the_folder_is_not_read(folder: Path, tmp_path: Path) -> None:
    (folder / "z.png").symlink_to(picture(tmp_path / "secret.png", (255, 0, 0)))
    found = load_images(folder, (8, 8), "auto")
    assert len(found.values) == 5
    assert found.notes == ["1 of 6 images left out (first: z.png is a link out of the folder)"]
    assert found.image == Image(8, 8, "grey")


def test_normal_folders_are_named(tmp_path: Path) -> None:
    for name, grey in (("ok_front", 40), ("ok_top", 80), ("def_front", 200)):
        picture(tmp_path / "train" / name / "1.png", (grey,) * 3)
    found = load_images(tmp_path, (8, 8), "grey", normal=["ok_front"])
    assert found.values[:, 0, 0, 0].tolist() == [40]
    found = load_images(tmp_path, (8, 8), "grey", normal=["ok_front", "ok_top"])
    assert found.values[:, 0, 0, 0].tolist() == [40, 80]
    with pytest.raises(InputError, match=r"train: holds no folder 'ok'; its folders are 'def_front', 'ok_front', 'ok_"):
        load_images(tmp_path, (8, 8), "grey", normal=["ok"])
    with pytest.raises(InputError, match=r"not all .* 'def_front', .* --normal ok_front --normal ok_top"):
        load_images(tmp_path, (8, 8), "grey")
    (tmp_path / "train" / "def_front").rename(tmp_path / "train" / "front")
    assert len(load_images(tmp_path, (8, 8), "grey").values) == 3  # a name that tells nothing


def test_links_within_the_folder_that_was_named_are_followed(folder: Path) -> None:
    (folder / "train").mkdir()
    (folder / "train" / "good.png").symlink_to("../3.png")
    assert load_images(folder, (8, 8), "grey").values[:, 0, 0, 0].tolist() == [120]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none yet")
    with pytest.raises(InputError, match="holds no image; expected PNG, JPEG"):
        load_images(tmp_path, (8, 8), "auto")


def test_images_that_are_all_the_same_are_noted(folder: Path) -> None:
    for number in range(5):
        picture(folder / f"{number}.png", (0, 0, 0))
    assert load_images(folder, (8, 8), "grey").notes == [
        "all 5 images are the same: whatever differs from them will be an anomaly"
    ]


def test_the_fingerprint_changes_with_a_byte_and_with_a_name(folder: Path) -> None:
    first = load_images(folder, (8, 8), "grey").sha256
    assert load_images(folder, (8, 8), "grey").sha256 == first
    (folder / "4.png").rename(folder / "5.png")
    renamed = load_images(folder, (8, 8), "grey").sha256
    picture(folder / "5.png", (161,) * 3)
    assert len({first, renamed, load_images(folder, (8, 8), "grey").sha256}) == 3


def test_the_fingerprint_of_a_single_image_by_hand(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", (1, 2, 3))
    expected = sha256(b"a.png\0" + path.read_bytes()).hexdigest()
    assert load_images(tmp_path, (8, 8), "grey").sha256 == expected
