"""What an import did not take, it says in one line."""

from geo_training.datasets.tally import Tally


def test_what_was_found_used_and_left_out():
    tally = Tally("walk.mcap /camera", found=12, used=3)
    tally.leave_out("for the rate of 4 a second", 7)
    for _ in range(2):
        tally.leave_out("undecodable")
    tally.lack("without a pose", 1)
    tally.leave_out("damaged", 0)
    assert tally.sentence == (
        "walk.mcap /camera: found 12 images, used 3 (1 without a pose), left out: 7 for the rate of 4 a second, "
        "2 undecodable."
    )
    assert tally.to_dict()["left_out"] == {"for the rate of 4 a second": 7, "undecodable": 2}


def test_nothing_left_out():
    assert Tally("a", things="depth images", found=2, used=2).sentence == (
        "a: found 2 depth images, used 2, left out: none."
    )
