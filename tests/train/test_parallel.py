"""Two processes with half the batch each do what one does with the whole."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from tests.train.models import TRAINING, tiny_data, tiny_model
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


def test_two_processes_equal_one_with_the_double_batch(tmp_path: Path) -> None:
    port = str(_free_port())
    both = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WORKER, str(tmp_path / "two")],
            cwd=ROOT,
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "OMP_NUM_THREADS": "1",
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(errors)

    alone = Trainer(tiny_model(), "tiny", TRAINING, tiny_data(), TINY, tmp_path / "one")
    alone.run()
    shared = torch.load(tmp_path / "two" / "checkpoint.pt", weights_only=True)
    start, end = (_flat(model.state_dict()) for model in (tiny_model(), alone.model))
    assert (end - start).abs().max() > 5e-4
    # Adam makes rounding errors visible where a gradient is as good as zero.
    assert (_flat(shared["model"]) - end).norm() < 0.03 * (end - start).norm()


def _flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])
