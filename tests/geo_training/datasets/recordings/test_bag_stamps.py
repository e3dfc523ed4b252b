"""Stamps as drivers and clocks leave them, and what is said of the images that were not taken."""

import numpy as np
import yaml
from bag_maker import STEP_NS, T0_NS, convert, pose_at
from command_line import invoke
from film_maker import picture
from geo_training.cli import train
from geo_training.datasets.scene import SceneDataset


def test_a_zero_stamp_on_another_clock_is_left_out(bag_maker, tmp_path):
    """A simulation that began 100 s ago, received by a wall clock: nothing says when the image without a stamp was."""
    maker = bag_maker()
    for i in range(5):
        maker.image(0 if i == 2 else 100 * 10**9 + i * STEP_NS, picture(i, 48, 64), receive_ns=T0_NS + i * STEP_NS)
    dataset, result = convert(maker.write("walk"), tmp_path)
    assert [f.stamp_ns for f in dataset.frames] == [100 * 10**9 + i * STEP_NS for i in (0, 1, 3, 4)]
    assert result["tallies"][0]["left_out"] == {"without a stamp, on a clock of their own": 1}


def test_stamps_out_of_order_and_before_zero_keep_their_poses(bag_maker, tmp_path):
    """Stamps of a clock before 1970, not in the order of recording; each image has the pose of its stamp."""
    maker, order = bag_maker(), [3, 0, 5, 1, 4, 2]
    for number, i in enumerate(order):
        receive_ns = T0_NS + number * 1000
        maker.image(-(10**10) + i * STEP_NS, picture(i, 48, 64), receive_ns=receive_ns)
        maker.pose(-(10**10) + order[5 - number] * STEP_NS, pose_at(order[5 - number]), receive_ns=receive_ns)
    dataset, result = convert(maker.write("walk"), tmp_path, fps=0)
    assert [f.stamp_ns for f in dataset.frames] == [-(10**10) + i * STEP_NS for i in range(6)]
    for i, frame in enumerate(dataset.frames):
        assert np.abs(frame.T_world_camera - pose_at(i)).max() < 1e-6
        assert np.abs(dataset.image(frame).astype(int) - picture(i, 48, 64)).mean() < 12
    assert any("jumps back 3 times" in warning for warning in result["warnings"])


def test_found_used_and_left_out_in_one_line(bag_maker, tmp_path):
    """Eight images of one sharpness at 8 a second: two intervals of four, of which the first are kept."""
    maker = bag_maker()
    for i in range(8):
        stamp_ns = T0_NS + i * 125_000_000
        maker.image(stamp_ns, picture(0, 48, 64), **({"encoding": "tv8"} if i == 1 else {}))
        maker.info(stamp_ns)
        if i < 3:
            maker.pose(stamp_ns, pose_at(i))
    bag = maker.write("walk")
    sentence = (
        "walk /camera/image_raw: found 8 images, used 2 (1 without a pose), left out: 5 for the rate of 2 a second, "
        "1 undecodable."
    )
    arguments = ["dataset", "from-bag", str(bag), "--out", str(tmp_path / "out"), "--fps", "2"]
    done = invoke(train, *arguments, "--json", tmp_path / "r.json")
    assert done.exit_code == 0
    assert sentence in done.output.splitlines()
    assert sentence in SceneDataset(tmp_path / "out").info.notes
    (images,) = yaml.safe_load((tmp_path / "r.json").read_text())["tallies"]
    assert (images["found"], images["used"], images["lacking"]) == (8, 2, {"without a pose": 1})
    assert images["left_out"] == {"for the rate of 2 a second": 5, "undecodable": 1}
