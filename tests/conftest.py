"""One thread per process, so that tests neither disturb each other nor round differently."""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import torch

torch.set_num_threads(1)
