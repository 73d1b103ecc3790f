"""What the examples share: the `--size` option, the device, the comparison with PyTorch."""

import argparse

import torch

from tilelang.env import env
from tilelang.target import determine_target


def pick_device():
    """A CUDA device when there is one and kernels run on it, else the CPU."""
    runs_there = determine_target("auto").kind == "cuda" and not is_emulated()
    return "cuda" if torch.cuda.is_available() and runs_there else "cpu"


def is_emulated():
    """Whether kernels run on the emulator of a GPU, where an element costs about a microsecond."""
    return determine_target("auto").kind == "cuda" and env.TILELANG_EMULATE


def fitting(size):
    """`size`, or sequences of sizes, as they are; on the emulator about 128 with the same remainder
    by 16 in place of more."""
    if not is_emulated():
        return size
    if isinstance(size, (list, tuple)):
        return type(size)(fitting(n) for n in size)
    return min(size, 128 + size % 16)


class Cases:
    """The cases of one example.

    `large` and `device` say how to run; `check` compares and prints a line; `status` is the exit
    code. `matmul_tolerance` is for products of float32, which tensor cores round to tfloat32.
    """

    def __init__(self, description):
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--size", choices=["small", "large"], default="small")
        self.large = parser.parse_args().size == "large"
        self.device = pick_device()
        self.matmul_tolerance = 1e-5 if determine_target("auto").kind == "c" else 1e-3
        self.count = self.wrong = 0
        torch.manual_seed(0)

    def size(self, small, large):
        """One of the two, as the user asked; the small one `fitting`."""
        return large if self.large else fitting(small)

    def randn(self, *shape, dtype=torch.float32):
        """Normal random numbers on the device."""
        return torch.randn(*shape, device=self.device).to(dtype)

    def check(self, name, result, reference, tolerance):
        """Print `name shape: relative error ... ok`, where `reference` has the higher precision.

        The error is the norm of the difference over the norm of the reference; a tolerance of 0
        asks for equality. A result of another shape, or with a NaN, is wrong.
        """
        shape = "x".join(map(str, result.shape))
        ours, expected = result.double().cpu(), reference.double().cpu()
        if ours.shape == expected.shape:
            error = ((ours - expected).norm() / expected.norm().clamp(min=1e-30)).item()
        else:
            error = float("nan")
        right = error <= tolerance
        self.count += 1
        self.wrong += not right
        print(f"{name} {shape}: relative error {error:.1e} {'ok' if right else 'WRONG'}")

    @property
    def status(self):
        """0 when every case was right and there was one."""
        return 0 if self.count and not self.wrong else 1
