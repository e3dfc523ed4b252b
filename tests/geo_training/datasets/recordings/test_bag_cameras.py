"""Which topics of a recording are cameras, whose CameraInfo they take, and how rectified and 16-bit images are read."""

import cv2
import numpy as np
import pytest
from bag_maker import STEP_NS, T0_NS, convert
from command_line import invoke
from geo_training.cli import train
from geo_training.datasets.recordings.bag_topics import choose_cameras
from geo_training.datasets.recordings.bags import Recording
from geo_training.datasets.scene import SceneDataset, recorded_lens

from geo_perception.errors import InputError
from geo_perception.geometry import Camera

D_5 = (-0.3, 0.1, 0.0, 0.0, 0.0)
LENS = Camera(64, 48, 60, 60, 31.5, 23.5, "plumb_bob", D_5)
P_12 = (52.0, 0, 30.5, 0, 0, 53.0, 22.5, 0, 0, 0, 1, 0)
RIGHT_P_12 = (52.0, 0, 30.5, -5.2, 0, 53.0, 22.5, 0, 0, 0, 1, 0)
RECTIFIED = Camera(64, 48, 52, 53, 30.5, 22.5)
GREY = np.random.default_rng(0).integers(0, 256, (6, 8, 1), np.uint8)
PICTURE = GREY.repeat(8, axis=0).repeat(8, axis=1).repeat(3, axis=2)  # whole blocks of JPEG


def record(maker, image="/camera/image_rect", picture=PICTURE, **info):
    maker.image(T0_NS, picture, topic=image)
    maker.info(T0_NS, **{"d": D_5, "p": P_12} | info)
    return maker.write("walk")


class TestRectified:
    @pytest.mark.parametrize("p", [P_12, RIGHT_P_12], ids=["left", "right"])
    @pytest.mark.parametrize("ros1", [False, True])
    def test_the_picture_is_kept_and_p_without_d_holds(self, bag_maker, tmp_path, p, ros1):
        maker = bag_maker(ros1)
        maker.image(T0_NS, PICTURE, topic="/camera/image_rect")
        maker.info(T0_NS, d=D_5, p=p)
        dataset, result = convert(maker.write("walk.bag" if ros1 else "walk"), tmp_path)
        assert dataset.camera(dataset.frames[0]) == RECTIFIED
        assert np.abs(dataset.image(dataset.frames[0]).astype(int) - PICTURE).max() < 12  # JPEG
        assert recorded_lens(dataset.root, dataset.frames[0].camera_id) == (LENS, True)
        (note,) = (note for note in result["notes"] if "rectified" in note)
        assert note.startswith("The images on /camera/image_rect are rectified, as its name says: P")
        assert "--rectified false" in note

    def test_the_option_wins_over_the_name(self, bag_maker, tmp_path):
        bag = record(bag_maker(), "/camera/image_rect_color")
        dataset, result = convert(bag, tmp_path, rectified="false")
        assert dataset.camera(dataset.frames[0]) != RECTIFIED
        assert recorded_lens(dataset.root, dataset.frames[0].camera_id) == (LENS, False)
        assert any("are raw, as --rectified says" in note for note in result["notes"])
        maker = bag_maker()
        maker.folder = tmp_path / "raw"
        maker.folder.mkdir()
        dataset, _ = convert(record(maker, "/camera/image_raw"), tmp_path, rectified="true")
        assert dataset.camera(dataset.frames[0]) == RECTIFIED

    def test_raw_and_rectified_images_may_share_their_camera_info(self, bag_maker, tmp_path):
        maker = bag_maker()
        for topic in ("/camera/image_raw", "/camera/image_rect"):
            maker.image(T0_NS, PICTURE, topic=topic)
        maker.info(T0_NS, d=D_5, p=P_12)
        dataset, _ = convert(
            maker.write("walk"), tmp_path, images=("/camera/image_raw", "/camera/image_rect")
        )  # fmt: skip
        lenses = [recorded_lens(dataset.root, frame.camera_id) for frame in dataset.frames]
        assert sorted(rectified for _, rectified in lenses) == [False, True]
        assert [camera == RECTIFIED for camera in map(dataset.camera, dataset.frames)] == [r for _, r in lenses]

    def test_p_of_zeros_is_k_without_d_with_a_warning(self, bag_maker, tmp_path):
        dataset, result = convert(record(bag_maker(), p=(0.0,) * 12), tmp_path)
        assert dataset.camera(dataset.frames[0]) == LENS.without_distortion()
        assert any("P of their CameraInfo is zero" in warning for warning in result["warnings"])

    def test_half_the_size_takes_half_of_p(self, bag_maker, tmp_path):
        half = cv2.resize(PICTURE, (32, 24), interpolation=cv2.INTER_AREA)
        dataset, result = convert(record(bag_maker(), picture=half), tmp_path)
        assert dataset.camera(dataset.frames[0]) == RECTIFIED.resized(32, 24)
        assert recorded_lens(dataset.root, dataset.frames[0].camera_id) == (LENS.resized(32, 24), True)
        assert any("K is scaled" in warning for warning in result["warnings"])

    def test_the_command_takes_the_options_and_refuses_wrong_ones(self, bag_maker, tmp_path):
        bag, out = record(bag_maker(), "/camera/image_raw"), tmp_path / "dataset"
        command = ["dataset", "from-bag", str(bag), "--out", str(out)]
        assert invoke(train, *command, "--rectified", "perhaps").exit_code == 2
        wrong = invoke(train, *command, "--image-bits", "9")
        assert wrong.exit_code == 1
        assert "use one of 0, 10, 12, 14, 16" in wrong.output
        useless = invoke(train, *command, "--rectified", "true", "--K", "60,60,32,24")
        assert "--rectified would have no effect" in " ".join(useless.output.split())
        done = invoke(train, *command, "--rectified", "true")
        assert done.exit_code == 0, done.output
        assert SceneDataset(out).cameras["camera0"] == RECTIFIED


class TestOtherCameras:
    def test_frame_and_size_of_another_camera_are_refused(self, bag_maker, tmp_path):
        """Twice the size, so it would fit if it were scaled."""
        bag = record(bag_maker(), frame="right_optical", width=128, height=96)
        with pytest.raises(InputError, match=r"'right_optical' and 128 x 96 .* 'camera_optical' and 64 x 48") as error:
            convert(bag, tmp_path)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(("frame", "told"), [("right_optical", True), ("", False), ("/camera_optical", False)])
    def test_another_frame_of_the_same_size_is_told(self, bag_maker, tmp_path, frame, told):
        _, result = convert(record(bag_maker(), frame=frame), tmp_path)
        assert any("taken as one camera's" in warning for warning in result["warnings"]) is told

    def test_nan_in_d_is_no_camera_and_says_why(self, bag_maker, tmp_path):
        bag = record(bag_maker(), "/camera/image_raw", d=(np.nan,) * 5)
        _, result = convert(bag, tmp_path)
        assert result["cameras_known"] is False
        assert any("D with numbers that are not finite" in warning for warning in result["warnings"])


def grey16(maker, index, *levels, topic="/camera/image_raw"):
    samples = np.resize(np.array(levels, "<u2"), (48, 64))
    samples[:, 32:] = levels[-1]
    samples[:, :32] = levels[0]
    data = np.frombuffer(samples.tobytes(), np.uint8)
    fields = {"encoding": "mono16", "step": 128, "width": 64, "height": 48, "data": data}
    maker.image(T0_NS + index * STEP_NS, PICTURE, topic=topic, **fields)


class TestBits:
    def test_all_images_of_a_recording_have_one_bit_depth(self, bag_maker, tmp_path):
        """12 bits, which only the last image shows: grey 900 is 56 of 255 in every one."""
        maker = bag_maker()
        for index, brightest in enumerate((1000, 900, 4000)):
            grey16(maker, index, 900, brightest)
        bag = maker.write("walk")
        dataset, result = convert(bag, tmp_path, K_33=LENS.K)
        assert [int(np.median(dataset.image(frame)[:, :24])) for frame in dataset.frames] == [56, 56, 56]
        assert any("of 16 bits" in note and "use 12" in note for note in map(str.lower, result["notes"]))
        dataset, _ = convert(bag, tmp_path, K_33=LENS.K, image_bits=14)
        assert [int(np.median(dataset.image(frame)[:, :24])) for frame in dataset.frames] == [14, 14, 14]

    def test_8_bits_are_not_spoken_of(self, bag_maker, tmp_path):
        _, result = convert(record(bag_maker()), tmp_path, image_bits=12)
        assert not any("16 bits" in note for note in result["notes"])


class TestTopics:
    @staticmethod
    def chosen(bag):
        with Recording(bag) as recording:
            return choose_cameras(recording, (), ())[0]

    def test_a_colour_camera_below_a_depth_camera_is_a_camera(self, bag_maker):
        maker = bag_maker()
        maker.image(T0_NS, PICTURE, topic="/depth_camera/color/image_raw")
        grey16(maker, 0, 900, 4000, topic="/depth_camera/depth/image_raw")
        maker.info(T0_NS, topic="/depth_camera/color/camera_info")
        maker.info(T0_NS, topic="/depth_camera/depth/camera_info")
        chosen = self.chosen(maker.write("walk"))
        assert chosen.image == "/depth_camera/color/image_raw"
        assert chosen.info == "/depth_camera/color/camera_info"

    @pytest.mark.parametrize(
        ("topic", "fields"),
        [
            ("/camera/depth/image_raw", {"encoding": "16UC1", "step": 128}),
            ("/camera/aligned/image", {"encoding": "32FC1", "step": 256}),
            ("/camera/stereo/image_raw", {"encoding": "16UC1", "step": 128}),
            ("/camera/depth_registered", {}),
            ("/camera/mask/image", {"encoding": "mono8", "step": 64}),
            ("/camera/confidence_map", {"encoding": "mono8", "step": 64}),
        ],
    )
    def test_what_is_no_picture_leaves_no_doubt(self, bag_maker, topic, fields):
        maker = bag_maker()
        maker.image(T0_NS, PICTURE, topic="/camera/image_raw")
        maker.image(T0_NS, PICTURE, topic=topic, **fields, **({"data": np.zeros(48 * 256, np.uint8)} if fields else {}))
        assert self.chosen(maker.write("walk")).image == "/camera/image_raw"

    def test_a_thermal_camera_alone_is_a_camera(self, bag_maker):
        maker = bag_maker()
        grey16(maker, 0, 900, 4000, topic="/thermal/image_raw")
        assert self.chosen(maker.write("walk")).image == "/thermal/image_raw"

    def test_jpegs_of_a_camera_below_depth_camera(self, bag_maker):
        maker = bag_maker()
        maker.jpeg(T0_NS, PICTURE, topic="/depth_camera/image_raw/compressed")
        assert self.chosen(maker.write("walk")).image == "/depth_camera/image_raw/compressed"

    def test_a_recording_of_depth_alone_offers_its_image_topics_only(self, bag_maker):
        maker = bag_maker()
        grey16(maker, 0, 900, 4000, topic="/camera/depth/image_raw")
        maker.pose(T0_NS, np.eye(4))
        with pytest.raises(InputError, match="images of depth or labels only") as error:
            self.chosen(maker.write("walk"))
        assert "/camera/depth/image_raw (sensor_msgs/Image, 1)" in str(error.value)
        assert "/pose" not in str(error.value)
