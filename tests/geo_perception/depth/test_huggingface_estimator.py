"""Depth by a folder of Hugging Face's transformers: nothing fetched, nothing run, and read as its files say."""

import json
import socket
import sys

import numpy as np
import pytest
import torch

from geo_perception.depth.huggingface_estimator import HuggingFaceDepthEstimator, card_of_folder, folder_files
from geo_perception.depth.onnx_estimator import load_depth_estimator, model_files
from geo_perception.depth.result import DepthVerdict
from geo_perception.errors import InputError
from geo_perception.geometry import Camera

CAMERA = Camera(128, 96, 110.0, 112.0, 62.0, 49.0)
PREPROCESSOR = {"do_rescale": True, "do_normalize": True, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25],
                "size": {"height": 56, "width": 84}, "keep_aspect_ratio": False}  # fmt: skip


def picture(height=96, width=128):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def make_folder(folder, config, preprocessor=None, readme=None):
    folder.mkdir()
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    if readme is not None:
        (folder / "README.md").write_text(readme)
    return folder


class TestCard:
    """What a folder's files say of its network; transformers is not needed for that."""

    @pytest.mark.parametrize(
        ("config", "output", "metric"),
        [
            ({"model_type": "depth_anything"}, "disparity", False),
            ({"model_type": "depth_anything", "depth_estimation_type": "relative"}, "disparity", False),
            ({"model_type": "depth_anything", "depth_estimation_type": "metric", "max_depth": 20}, "depth", True),
            ({"model_type": "zoedepth"}, "depth", True),
            ({"model_type": "glpn", "max_depth": 10}, "depth", True),
            ({"model_type": "depth_pro"}, "inverse_depth", True),
        ],
    )
    def test_the_output_is_what_the_config_says(self, tmp_path, config, output, metric):
        card = card_of_folder(make_folder(tmp_path / "net", config, PREPROCESSOR))
        assert (card.name, card.output, card.metric) == ("net", output, metric)
        assert (card.mean, card.std, card.range) == ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25), 1)
        assert (card.size_px, card.area_px) == ((84, 56), None)

    def test_sides_follow_the_format_where_it_is_kept(self, tmp_path):
        given = PREPROCESSOR | {"keep_aspect_ratio": True, "ensure_multiple_of": 14, "do_rescale": False}
        card = card_of_folder(make_folder(tmp_path / "a", {"model_type": "zoedepth"}, given))
        assert (card.size_px, card.area_px, card.multiple_px, card.range) == (None, 56 * 84, 14, 255)
        card = card_of_folder(make_folder(tmp_path / "b", {"model_type": "glpn"}, {"size_divisor": 32}))
        assert (card.area_px, card.multiple_px, card.mean) == (640 * 480, 32, (0.0, 0.0, 0.0))
        bare = make_folder(tmp_path / "c", {"model_type": "depth_anything", "backbone_config": {"patch_size": 14}})
        assert (card_of_folder(bare).multiple_px, card_of_folder(bare).mean) == (14, (0.485, 0.456, 0.406))
        square = make_folder(tmp_path / "d", {"model_type": "zoedepth", "image_size": 64, "patch_size": 16})
        assert card_of_folder(square).size_px == (64, 64)

    def test_the_readme_names_the_licence(self, tmp_path):
        config = {"model_type": "zoedepth"}
        named = make_folder(tmp_path / "a", config, readme="---\ntags:\n- vision\nlicense: cc-by-nc-4.0\n---\n# Net\n")
        assert card_of_folder(named).licence == "cc-by-nc-4.0"
        assert card_of_folder(make_folder(tmp_path / "b", config, readme="# Net\n")).licence == "unknown"
        assert card_of_folder(make_folder(tmp_path / "c", config)).licence == "unknown"

    def test_a_network_that_does_not_say_what_it_gives_needs_a_card(self, tmp_path):
        folder = make_folder(tmp_path / "midas", {"model_type": "dpt"}, PREPROCESSOR)
        with pytest.raises(InputError, match=r"\(dpt\) gives depth or disparity; write .*midas.yaml with output"):
            card_of_folder(folder)
        (tmp_path / "midas.yaml").write_text("output: disparity\nlicence: MIT\n")
        card = card_of_folder(folder)
        assert (card.output, card.licence, card.size_px, card.mean) == ("disparity", "MIT", (84, 56), (0.4, 0.5, 0.6))
        (tmp_path / "midas.yaml").write_text("name: mine\noutput: depth\narea_px: 40000\n")
        card = card_of_folder(folder)
        assert (card.name, card.size_px, card.area_px) == ("mine", None, 40000)
        assert folder_files(folder)[-1] == tmp_path / "midas.yaml"

    def test_the_card_comes_first(self, tmp_path):
        folder = make_folder(tmp_path / "net", {"model_type": "depth_anything"}, PREPROCESSOR)
        (tmp_path / "net.yaml").write_text("output: inverse_depth\n")
        assert card_of_folder(folder).output == "inverse_depth"

    @pytest.mark.parametrize("config", ["no json", "[1]"])
    def test_a_folder_without_a_config_is_refused(self, tmp_path, config):
        with pytest.raises(InputError, match=r"it has no config.json that can be read; check the path"):
            load_depth_estimator(make_folder(tmp_path / "net", config), "cpu")

    def test_other_weights_than_safetensors_are_not_read(self, tmp_path):
        folder = make_folder(tmp_path / "net", {"model_type": "zoedepth"})
        (folder / "pytorch_model.bin").write_bytes(b"pickle")
        with pytest.raises(InputError, match=r"has no model.safetensors, and other weights are not read"):
            load_depth_estimator(folder, "cpu")

    def test_without_transformers_it_says_what_to_install(self, tmp_path, monkeypatch):
        folder = make_folder(tmp_path / "net", {"model_type": "zoedepth"})
        (folder / "model.safetensors").write_bytes(b"")
        monkeypatch.setitem(sys.modules, "transformers", None)
        with pytest.raises(InputError, match="needs transformers; run `pip install transformers`"):
            load_depth_estimator(folder, "cpu")
        with pytest.raises(InputError, match="no folder is given"):
            HuggingFaceDepthEstimator.load()


class TestNetworks:
    """Small ones with random weights, against what transformers itself makes of the same pixels."""

    @pytest.fixture(scope="class")
    def transformers(self):
        return pytest.importorskip("transformers", reason="transformers is not installed")

    @pytest.fixture
    def saved(self, transformers, tmp_path):
        def save(network, preprocessor=PREPROCESSOR, name="net"):
            folder = tmp_path / name
            network.eval().save_pretrained(folder)
            (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
            return folder

        torch.manual_seed(0)
        return save

    def depth_anything(self, transformers, **options):
        backbone = transformers.Dinov2Config(
            hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14,
            reshape_hidden_states=False, out_indices=[1, 2, 3, 4], apply_layernorm=True,
        )  # fmt: skip
        return transformers.DepthAnythingForDepthEstimation(
            transformers.DepthAnythingConfig(
                backbone_config=backbone, patch_size=14, reassemble_hidden_size=16, neck_hidden_sizes=[4, 8, 8, 8],
                fusion_hidden_size=8, head_hidden_size=4, **options,
            )
        )  # fmt: skip

    def expected(self, network, view_hw3):
        image = (view_hw3 / 255 - PREPROCESSOR["image_mean"]) / PREPROCESSOR["image_std"]
        with torch.inference_mode():
            given = network.eval()(pixel_values=torch.tensor(image, dtype=torch.float32).permute(2, 0, 1)[None])
        return given.predicted_depth[0].numpy()

    def test_metric_depth_is_that_of_the_network(self, transformers, saved):
        network = self.depth_anything(transformers, depth_estimation_type="metric", max_depth=20)
        estimator = load_depth_estimator(saved(network), "cpu")
        answer = estimator.estimate(picture(), CAMERA)
        assert answer.verdict is DepthVerdict.ESTIMATED
        assert answer.depth_hw.shape == (56, 84)
        np.testing.assert_allclose(answer.depth_hw, self.expected(network, answer.view_hw3), rtol=1e-3)
        assert estimator.metric
        assert not estimator.shift_unknown
        assert answer.sigma_hw is None
        assert 0 < estimator.size_bytes < 1e6

    def test_disparity_is_inverted_and_its_shift_stays_unknown(self, transformers, saved):
        network = self.depth_anything(transformers)
        with torch.no_grad():
            network.head.conv3.bias.fill_(3.0)  # random weights hardly differ from 0, which is infinitely far
        estimator = load_depth_estimator(saved(network), "cpu")
        answer = estimator.estimate(picture(), CAMERA)
        np.testing.assert_allclose(1 / answer.depth_hw, self.expected(network, answer.view_hw3), rtol=1e-3)
        assert estimator.shift_unknown
        assert not estimator.metric

    def test_dpt_works_by_its_card(self, transformers, saved):
        network = transformers.DPTForDepthEstimation(
            transformers.DPTConfig(
                hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=64,
                patch_size=16, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[4, 8, 8, 8],
                fusion_hidden_size=8, is_hybrid=False,
            )
        )  # fmt: skip
        with torch.no_grad():
            network.head.head[4].bias.fill_(2.0)
        folder = saved(network, PREPROCESSOR | {"size": {"height": 64, "width": 64}})
        folder.with_name("net.yaml").write_text("output: disparity\n")
        answer = load_depth_estimator(folder, "cpu").estimate(picture(), CAMERA)
        np.testing.assert_allclose(1 / answer.depth_hw, self.expected(network, answer.view_hw3), rtol=1e-3)

    def test_depth_pro_s_camera_has_a_focal_length_of_its_width(self, saved, monkeypatch):
        """The network itself takes no less than 1536 pixels a side; what it gives is stood in for."""
        folder = saved(self.depth_anything(pytest.importorskip("transformers")))
        folder.with_name("net.yaml").write_text("output: inverse_depth\n")
        estimator = load_depth_estimator(folder, "cpu")
        alone = estimator.estimate(picture(), None).depth_hw
        np.testing.assert_allclose(estimator.estimate(picture(), CAMERA).depth_hw, alone, rtol=1e-4)
        monkeypatch.setattr(estimator._model.config, "model_type", "depth_pro")
        np.testing.assert_allclose(estimator.estimate(picture(), None).depth_hw, alone)
        np.testing.assert_allclose(estimator.estimate(picture(), CAMERA).depth_hw, alone * 110 / 128, rtol=1e-4)

    def test_glpn_says_metres(self, transformers, saved):
        network = transformers.GLPNForDepthEstimation(
            transformers.GLPNConfig(
                hidden_sizes=[4, 4, 8, 8], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 1, 1],
                decoder_hidden_size=4, mlp_ratios=[1, 1, 1, 1], max_depth=8,
            )
        )  # fmt: skip
        estimator = load_depth_estimator(saved(network, {"size_divisor": 32, "do_rescale": True}), "cpu")
        depth_hw = estimator.estimate(picture(), CAMERA).depth_hw
        assert depth_hw.shape == (480, 640)
        assert ((depth_hw > 0) & (depth_hw < 8)).all()
        assert estimator.metric

    def test_weights_that_are_not_all_there_are_refused(self, transformers, saved):
        from safetensors.torch import load_file, save_file

        folder = saved(self.depth_anything(transformers))
        tensors = load_file(folder / "model.safetensors")
        name = sorted(tensors)[0]
        save_file({k: v for k, v in tensors.items() if k != name}, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(InputError, match=f"its weights lack what its config asks for .{name}"):
            load_depth_estimator(folder, "cpu")
        (folder / "model.safetensors").write_bytes(b"no tensors")
        with pytest.raises(InputError, match="cannot be used as a network of depth"):
            load_depth_estimator(folder, "cpu")

    def test_code_of_a_folder_is_not_run(self, transformers, saved):
        folder = saved(self.depth_anything(transformers))
        ran = folder / "ran"
        (folder / "theirs.py").write_text(f"open({str(ran)!r}, 'w')\n")
        config = json.loads((folder / "config.json").read_text())
        config |= {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Config",
                   "AutoModelForDepthEstimation": "theirs.Model"}, "depth_estimation_type": "metric"}  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match="cannot be used as a network of depth"):
            load_depth_estimator(folder, "cpu")
        assert not ran.exists()

    def test_a_backbone_by_name_is_not_fetched(self, transformers, tmp_path, monkeypatch):
        asked = []

        def refuse(*arguments, **_):
            asked.append(arguments)
            raise OSError("there is no network")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        config = {"model_type": "depth_anything", "backbone": "facebook/dinov2-small", "use_pretrained_backbone": True,
                  "architectures": ["DepthAnythingForDepthEstimation"]}  # fmt: skip
        folder = make_folder(tmp_path / "net", config, PREPROCESSOR)
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(1)}, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(InputError, match="cannot be used as a network of depth"):
            load_depth_estimator(folder, "cpu")
        assert not asked

    def test_the_files_that_decide_are_known(self, transformers, saved):
        folder = saved(self.depth_anything(transformers))
        names = [file.name for file in model_files(folder)]
        assert names == ["config.json", "preprocessor_config.json", "model.safetensors"]

    def test_it_is_not_written_as_weights(self, transformers, saved, tmp_path):
        estimator = load_depth_estimator(saved(self.depth_anything(transformers)), "cpu")
        with pytest.raises(InputError, match="copy its file"):
            estimator.save(tmp_path / "out.safetensors", {})
