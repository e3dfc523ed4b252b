"""What a person reads whose images or CameraInfo do not come."""

from geo_perception.ros.published import CAMERA_INFO, COMPRESSED, IMAGE, Publisher, explain_missing

DRIVER = "/usb_cam"


def test_nothing_there_and_images_elsewhere_are_named_with_their_type():
    said = explain_missing("/image", IMAGE, [], [("/cam/depth", IMAGE), ("/cam/image", IMAGE)])
    assert said == (
        "no publisher on /image; images are published on /cam/depth (sensor_msgs/msg/Image), "
        "/cam/image (sensor_msgs/msg/Image): remap image"
    )


def test_many_are_not_all_named():
    said = explain_missing("/image", IMAGE, [], [(f"/cam{index}/image", IMAGE) for index in range(9)])
    assert "/cam3/image (sensor_msgs/msg/Image) and 5 more: remap image" in said
    assert "/cam4" not in said


def test_only_compressed_images_beside_it():
    said = explain_missing("/cam/image", IMAGE, [], [("/cam/image/compressed", COMPRESSED)])
    assert said.endswith("/cam/image/compressed (sensor_msgs/msg/CompressedImage): set image_transport:=compressed")


def test_only_raw_images_where_compressed_ones_are_wanted():
    said = explain_missing("/cam/image/compressed", COMPRESSED, [], [("/cam/image", IMAGE)])
    assert said.endswith("/cam/image (sensor_msgs/msg/Image): set image_transport:=raw")


def test_compressed_images_elsewhere():
    said = explain_missing("/image", IMAGE, [], [("/cam/image/compressed", COMPRESSED)])
    assert said.endswith("(sensor_msgs/msg/CompressedImage): remap image, and set image_transport:=compressed")


def test_another_type_on_the_topic_itself():
    said = explain_missing("/cam/image", IMAGE, [Publisher(DRIVER, COMPRESSED, "reliable, volatile")], [])
    assert said == (
        "what /usb_cam publishes on /cam/image is sensor_msgs/msg/CompressedImage (reliable, volatile), not "
        "sensor_msgs/msg/Image: set image_transport:=compressed"
    )
    said = explain_missing("/cam/image", IMAGE, [Publisher(DRIVER, "std_msgs/msg/String", "reliable, volatile")], [])
    assert said.endswith("not sensor_msgs/msg/Image: remap to a topic of that type")


def test_a_publisher_that_is_silent_is_named_with_its_qos():
    said = explain_missing("/cam/image", IMAGE, [Publisher(DRIVER, IMAGE, "best effort, volatile")], [])
    assert said == f"/cam/image is published by /usb_cam ({IMAGE}, best effort, volatile), and nothing arrives"


def test_one_that_is_heard_and_of_no_use_is_named_too():
    told = Publisher(DRIVER, CAMERA_INFO, "reliable, transient local")
    said = explain_missing("/cam/camera_info", CAMERA_INFO, [told], [], received=True)
    assert said == f"/cam/camera_info is published by /usb_cam ({CAMERA_INFO}, reliable, transient local)"


def test_nothing_anywhere():
    said = explain_missing("/cam/camera_info", CAMERA_INFO, [], [])
    assert said == (
        "no publisher on /cam/camera_info; no CameraInfo is published anywhere: look at the driver, and at "
        "ROS_DOMAIN_ID"
    )
    said = explain_missing("/image", IMAGE, [], [])
    assert "no images are published anywhere" in said


def test_camera_info_elsewhere():
    said = explain_missing("/camera_info", CAMERA_INFO, [], [("/cam/camera_info", CAMERA_INFO)])
    assert said.endswith("CameraInfo is published on /cam/camera_info (sensor_msgs/msg/CameraInfo): remap camera_info")
