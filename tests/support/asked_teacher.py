"""A teacher that several processes ask together, each with a run's folder of its own: what it told each of them."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from geo_training.datasets.scene import SceneDataset
from geo_training.depth.data.teacher import Teacher
from geo_training.engine.loop import make_accelerator
from geo_training.storage.fingerprints import digest_of

if __name__ == "__main__":
    root, network, run_dir = map(Path, sys.argv[1:])
    accelerator = make_accelerator(torch.device("cpu"))
    dataset, teacher, asked = SceneDataset(root), Teacher(network, torch.device("cpu")), []
    asks = teacher._asked
    teacher._asked = lambda *frame: asked.append(frame) or asks(*frame)
    teacher.prepare([(dataset, frame) for frame in dataset.frames], run_dir)
    print("asked", len(asked))
    print("told", digest_of([teacher.inverse_depth(dataset, frame) for frame in dataset.frames]))
    accelerator.state.destroy_process_group()
