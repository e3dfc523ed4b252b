"""`geo-eval localization` with a folder of scenes."""

import json

import pytest
from command_line import invoke
from geo_training.evaluation.commands import app
from two_scenes import LEFT, RIGHT


@pytest.mark.parametrize("scene", [LEFT, RIGHT])
def test_a_folder_is_asked_for_each_frame_on_its_own_and_says_which_scenes_answered(two_scenes, tmp_path, scene):
    folder = two_scenes.copied(tmp_path / "scenes", placed=False)
    (folder / "broken.safetensors").write_bytes(b"nothing")
    told = tmp_path / "told.json"
    dataset = two_scenes.folder / "datasets" / scene
    result = invoke(app, "localization", folder, dataset, "--device", "cpu", "--json", told)
    assert result.exit_code == 0, result.output
    assert f"localized in {scene} (6)" in result.stderr
    assert "broken.safetensors is not a scene file" in result.stderr
    content = json.loads(told.read_text())
    assert content["figures"]["recall_10cm_5deg"] == 1.0  # in the scene's own frame, which is that of its dataset
    assert content["metadata"]["scene"].startswith(str(folder))
