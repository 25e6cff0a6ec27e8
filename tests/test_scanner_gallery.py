"""The gallery of an acquisition."""

import nibabel as nib
import numpy as np
import pytest
from matplotlib import image as pictures

from experiments import scanner_gallery
from tests.scanning import smooth_head


def test_the_protocol_holds_the_head():
    box = np.array([[-70.0, -100.0, -90.0], [72.0, 88.0, 95.0]])
    protocol = scanner_gallery.protocol_for(box, 1.2)
    fov, centre = np.array(protocol.field_of_view), np.array(protocol.centre)
    assert np.all(centre - fov / 2 < box[0]) and np.all(centre + fov / 2 > box[1])
    np.testing.assert_allclose(protocol.voxel_size, 1.2)


def test_every_picture_is_drawn(tmp_path):
    image = smooth_head()
    found = [("clean", image, (1.0, 1.0, 1.0)), ("noisy", image - 1, (1.0, 1.0, 3.0))]
    scanner_gallery.draw(tmp_path / "gallery.png", found)
    assert pictures.imread(tmp_path / "gallery.png").shape == (260, 2100, 4)


@pytest.mark.slow
def test_the_whole_gallery_of_a_scan(tmp_path):
    path = tmp_path / "head.nii.gz"
    nib.save(nib.Nifti1Image(1000 * smooth_head((40, 48, 44)), np.diag([4.0, 4, 4, 1])), path)
    output = tmp_path / "gallery.png"
    assert not scanner_gallery.main([f"--data={path}", f"--output={output}"])
    assert output.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data=labels:nowhere"], "nowhere"),
        (["--data=nowhere.nii.gz"], "does not exist"),
        (["--data=nowhere.nii.gz", "--fraction=1.5"], "does not lie in"),
    ],
)
def test_bad_input_of_the_gallery_is_one_sentence(arguments, said, capsys):
    assert scanner_gallery.main(arguments)
    assert said in " ".join(capsys.readouterr().err.split())
