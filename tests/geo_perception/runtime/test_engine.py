"""An engine gives what torch gives, or torch is used; and of several the fastest is."""

import logging
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from geo_perception.errors import InputError
from geo_perception.runtime import device as device_module
from geo_perception.runtime import engine, openvino_engine
from geo_perception.runtime.backbone import create_backbone
from geo_perception.runtime.engine import UnusableError, Wish, choose_engine
from geo_perception.runtime.folding import fold_normalization
from geo_perception.runtime.frozen import FrozenNetwork

pytest.importorskip("openvino", reason="OpenVINO is not installed")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "_chosen", type(engine._chosen)())
    monkeypatch.delenv(engine.ENGINE_VARIABLE, raising=False)
    monkeypatch.setenv("GEO_PERCEPTION_CACHE", str(tmp_path / "engines"))


@pytest.fixture(scope="module")
def network():
    return fold_normalization(create_backbone())


@pytest.fixture
def without_half(monkeypatch):
    monkeypatch.setattr(device_module, "half_precision", lambda device: None)


def image_of(height_px, width_px):
    return torch.randint(0, 256, (1, 3, height_px, width_px), generator=torch.Generator().manual_seed(3)).float()


class Doubles(nn.Module):
    """Gives two maps, one of which depends on the image's size as only Python sees it, if `sized`."""

    def __init__(self, sized=False):
        super().__init__()
        self.sized = sized

    def forward(self, image_b3hw):
        factor = float(image_b3hw.shape[-1]) if self.sized else 2.0
        return [image_b3hw * factor, image_b3hw[:, :1]]


def asked(name, **rest):
    return Wish(name, **rest)


@pytest.mark.parametrize("few_sizes", [False, True])
def test_maps_of_images_of_several_sizes_are_those_of_torch_in_float32(network, without_half, few_sizes):
    made = choose_engine(network, "a", CPU, asked("openvino", few_sizes=few_sizes)).maker()
    for size_px in ((64, 64), (96, 352), (64, 64)):
        expected, found = network(image_of(*size_px)), made(image_of(*size_px))
        assert len(found) == len(expected)
        for one, other in zip(expected, found, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


def test_networks_that_load_beside_each_other_are_chosen_for_one_after_the_other(network, monkeypatch):
    """Two that are timed at once would both look slow; and one network is compiled once, whoever asks."""
    chosen, at_work = [], []

    def choose(network, checksum, *_):
        assert not at_work
        at_work.append(checksum)
        time.sleep(0.05)
        chosen.append(at_work.pop())
        return engine.Choice(checksum, "a test")

    monkeypatch.setattr(engine, "_choose", choose)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda checksum: choose_engine(network, checksum, CPU).name, "abab"))
    assert found == ["a", "b", "a", "b"]
    assert sorted(chosen) == ["a", "b"]


def test_what_an_engine_gave_stays_when_it_sees_another_image(network):
    made = choose_engine(network, "a", CPU, asked("openvino")).maker()
    first = made(image_of(64, 96))
    before = [map_bchw.clone() for map_bchw in first]
    made(255 - image_of(64, 96))
    assert all(torch.equal(one, other) for one, other in zip(before, first, strict=True))


def test_a_network_is_tried_once_and_the_ones_not_used_are_let_go(network, monkeypatch):
    tried = []
    monkeypatch.setattr(engine, "_KEPT", 4)
    monkeypatch.setattr(engine, "_choose", lambda *_: tried.append(1) or engine.Choice("torch", ""))
    for checksum in ("a", "b", "a", "c", "d", "e", "a", "b"):
        choose_engine(network, checksum, CPU)
    assert len(tried) == 6  # a stayed, b went when e came


def test_group_normalizations_are_those_of_torch(without_half):
    torch.manual_seed(0)
    norm = nn.GroupNorm(4, 12)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)

    class Normalized(nn.Module):
        def __init__(self):
            super().__init__()
            self.spread, self.norm = nn.Conv2d(3, 12, 3, padding=1), norm

        def forward(self, image_b3hw):
            return [self.norm(self.spread(image_b3hw))]

    network = Normalized().requires_grad_(False)
    assert type(openvino_engine._by_moments(network).norm) is not nn.GroupNorm
    assert network.norm is norm
    made = choose_engine(network, "normalized", CPU, asked("openvino", few_sizes=True)).maker()
    torch.testing.assert_close(made(image_of(64, 96))[0], network(image_of(64, 96))[0], rtol=1e-4, atol=1e-4)


def test_only_few_sizes_are_kept_compiled(monkeypatch):
    model = openvino_engine.OpenVinoModel(Doubles(), "few", torch.float32, few_sizes=True)
    monkeypatch.setattr(openvino_engine, "_SIZES", 2)
    first = model.compiled((32, 32))
    model.compiled((32, 64))
    assert model.compiled((32, 32)) is first
    model.compiled((64, 64))
    assert set(model._compiled) == {(32, 32), (64, 64)}


def test_a_network_that_the_engine_follows_wrongly_is_left_to_torch(caplog):
    with caplog.at_level(logging.WARNING):
        choice = choose_engine(Doubles(sized=True), "sized", CPU)
    assert choice.name == "torch"
    assert "other answers than torch (number 0 is off by" in choice.why
    assert "other answers than torch" in caplog.text
    with pytest.raises(InputError, match="engine openvino: it gives other answers than torch"):
        choose_engine(Doubles(sized=True), "sized", CPU, asked("openvino"))
    assert choose_engine(Doubles(), "plain", CPU, asked("openvino")).name == "openvino"


def test_where_half_precision_is_off_by_too_much_float32_is_taken(monkeypatch):
    def judged(network, found, by_torch, exact):
        problems.append(float((found[0] - exact[0]).norm()))
        return "half is off" if len(problems) == 1 else ""

    problems = []
    monkeypatch.setattr(engine, "parity_problem", judged)
    monkeypatch.setattr(device_module, "half_precision", lambda device: torch.bfloat16)
    assert choose_engine(Doubles(), "plain", CPU, asked("openvino")).why == "asked for; float32"
    assert len(problems) == 2


def test_a_network_beyond_the_engine_is_left_to_torch(monkeypatch):
    def refuse(network):
        raise RuntimeError("no such operation\nand much more")

    monkeypatch.setattr(openvino_engine, "_followed", refuse)
    choice = choose_engine(Doubles(), "plain", CPU)
    assert (choice.name, choice.maker) == ("torch", None)
    assert "openvino: it cannot run this network (no such operation and much more)" in choice.why


def test_without_openvino_torch_is_used_and_who_asks_for_it_is_told(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(openvino_engine.importlib, "import_module", missing)
    assert "openvino: it is not installed" in choose_engine(Doubles(), "plain", CPU).why
    with pytest.raises(InputError, match="engine openvino: it is not installed; run `pip install openvino`"):
        choose_engine(Doubles(), "plain", CPU, asked("openvino"))


def test_who_asks_for_a_graph_that_was_not_exported_is_told():
    for name in ("onnxruntime", "tensorrt"):
        with pytest.raises(InputError, match=f"engine {name}: no graph of these weights lies beside them"):
            choose_engine(Doubles(), "plain", CPU, asked(name))


@pytest.mark.parametrize(("seconds", "name"), [((3.0, 1.0, 2.0), "openvino"), ((3.0, 2.0, 1.0), "onnxruntime"),
                                              ((1.0, 2.0, 3.0), "torch")])  # fmt: skip
def test_the_fastest_of_those_that_pass_is_taken(monkeypatch, seconds, name):
    monkeypatch.setattr(engine, "_made", lambda *_: lambda: engine.torch_call(Doubles(), CPU))
    monkeypatch.setattr(engine, "median_seconds", lambda calls: list(seconds[: len(calls)]))
    choice = choose_engine(Doubles(), "plain", CPU)
    assert choice.name == name
    assert f"{1e3 * min(seconds):.1f} ms" in choice.why


def test_one_engine_that_fails_leaves_the_choice_to_the_others(monkeypatch):
    def made(name, *_):
        if name == "openvino":
            raise UnusableError("it is broken")
        return lambda: engine.torch_call(Doubles(), CPU)

    monkeypatch.setattr(engine, "_made", made)
    monkeypatch.setattr(engine, "median_seconds", lambda calls: [2.0, 1.0])
    assert choose_engine(Doubles(), "plain", CPU).name == "onnxruntime"


def test_the_environment_speaks_where_nobody_else_does(network, monkeypatch):
    monkeypatch.setenv(engine.ENGINE_VARIABLE, "torch")
    assert choose_engine(network, "a", CPU) == engine.Choice("torch", "asked for")
    assert choose_engine(Doubles(), "a", CPU, asked("openvino")).name == "openvino"
    monkeypatch.setenv(engine.ENGINE_VARIABLE, "warp")
    with pytest.raises(InputError, match="GEO_PERCEPTION_ENGINE is 'warp'; use auto, torch"):
        choose_engine(network, "a", CPU)
    with pytest.raises(InputError, match="engine 'warp' is not known; use auto, torch"):
        choose_engine(network, "a", CPU, asked("warp"))


def test_openvino_is_refused_on_a_gpu(monkeypatch):
    monkeypatch.setattr(device_module, "half_precision", lambda device: None)
    with pytest.raises(UnusableError, match="it is for CPUs"):
        engine._made("openvino", Doubles(), "a", torch.device("cuda"), Wish(), torch.float16)


def test_calls_are_timed_in_turns_and_the_first_is_not(monkeypatch):
    now_s, order = [0.0], []

    def call(name, seconds):
        def work():
            order.append(name)
            now_s[0] += seconds if order.count(name) > 1 else 100.0

        return work

    monkeypatch.setattr(engine.time, "perf_counter", lambda: now_s[0])
    assert engine.median_seconds([call("a", 2.0), call("b", 3.0)], 2) == [2.0, 3.0]
    assert order == ["a", "b"] * 3


def test_what_is_compiled_is_found_by_the_next_process(monkeypatch, tmp_path):
    def compiled():
        return openvino_engine.OpenVinoModel(Doubles(), "kept", torch.float32, few_sizes=True).request()(
            image_of(32, 64)
        )

    expected, followed = compiled(), []
    kept = list((tmp_path / "engines").iterdir())
    assert len(kept) == 1
    monkeypatch.setattr(openvino_engine, "_followed", lambda network: followed.append(network) or 1 / 0)
    assert all(torch.equal(one, other) for one, other in zip(compiled(), expected, strict=True))
    assert followed == []
    kept[0].write_bytes(kept[0].read_bytes()[:-1])  # damaged: followed again
    with pytest.raises(ZeroDivisionError):
        compiled()


def test_where_the_disk_takes_nothing_a_network_runs_all_the_same(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GEO_PERCEPTION_CACHE", str(tmp_path / "file" / "below"))
    assert choose_engine(Doubles(), "plain", CPU, asked("openvino")).name == "openvino"


def test_answers_are_made_by_the_engine_where_the_network_is_known_by_its_checksum(monkeypatch):
    monkeypatch.setattr(engine, "median_seconds", lambda calls: [2.0, 1.0])
    image_hw3 = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    known, unknown = FrozenNetwork(create_backbone(), CPU), FrozenNetwork(Doubles(), CPU)
    assert [map_bchw.shape[1] for map_bchw in known(image_hw3)] == create_backbone().channels
    unknown(image_hw3)
    assert (known.engine, unknown.engine) == ("openvino", "torch")
    assert unknown.choice.why == "its weights may still change"


def test_openvino_tells_nobody_that_it_is_used(tmp_path):
    """In a process and a home of its own, which tells any name that it looks up."""
    script = (
        "import os, socket\n"
        "socket.getaddrinfo = lambda *a, **k: print('looked up', a[0], flush=True) or os._exit(3)\n"
        "from geo_perception.runtime.openvino_engine import quiet_openvino\n"
        "print(quiet_openvino().__version__)\n"
        "import sys; assert sys.modules['openvino_telemetry'] is None\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "CI": ""}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (run.returncode, run.stderr, list(tmp_path.iterdir())) == (0, "", [])
    assert "looked up" not in run.stdout
