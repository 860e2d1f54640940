"""Two processes with half the batch each do what one does with the whole."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.train.models import TRAINING, tiny_data, tiny_model
from vidfill.train.parallel import joined
from vidfill.train.trainer import Trainer
from vidfill.train.vinet.recipes import TINY

ROOT = Path(__file__).parents[2]
WORKER = """
import sys
from pathlib import Path
import torch
from tests.train.models import TRAINING, tiny_data, tiny_model
from vidfill.train.parallel import joined
from vidfill.train.trainer import Trainer
from vidfill.train.vinet.recipes import TINY

torch.set_num_threads(1)
with joined("cpu") as ranks:
    assert ranks.n_ranks == 2
    Trainer(tiny_model(), "tiny", TRAINING, tiny_data(), TINY, Path(sys.argv[1]), ranks=ranks).run()
"""


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_two_processes_equal_one_with_the_double_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the first one, a child the second."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    command = [sys.executable, "-W", "error", "-c", WORKER, str(tmp_path / "two")]
    env = {**os.environ, **shared, "RANK": "1", "LOCAL_RANK": "1", "OMP_NUM_THREADS": "1"}
    for name, value in {**shared, "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True) as other:
        with joined("cpu") as ranks:
            assert (ranks.rank, ranks.n_ranks) == (0, 2)
            Trainer(tiny_model(), "tiny", TRAINING, tiny_data(), TINY, tmp_path / "two", ranks=ranks).run()
        error = other.communicate()[1]
    assert other.returncode == 0, error

    alone = Trainer(tiny_model(), "tiny", TRAINING, tiny_data(), TINY, tmp_path / "one")
    alone.run()
    both = torch.load(tmp_path / "two" / "checkpoint.pt", weights_only=True)
    start, end = (_flat(model.state_dict()) for model in (tiny_model(), alone.model))
    assert (end - start).abs().max() > 5e-4
    # Adam makes rounding errors visible where a gradient is as good as zero.
    assert (_flat(both["model"]) - end).norm() < 0.03 * (end - start).norm()


def _flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])
