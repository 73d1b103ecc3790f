"""`run.check` in a process of its own: a crash or an endless loop is a failure like any other.

The calling process runs no kernel itself: a forked one inherits no threads.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection

import tilelang
from tests.fuzz.generate import Program, generate
from tests.fuzz.run import FLAGS, Failure, Modes, check, traced
from tilelang.env import env

TIME_LIMIT = 60.0  # seconds for one program


def failure_of(program: Program, modes: Modes) -> Failure | None:
    """How the program fails, or `None`; a crash is the stage "crash", a timeout "hang"."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(program, modes, theirs))
    process.start()
    theirs.close()
    try:
        if not ours.poll(TIME_LIMIT):
            process.kill()
            return Failure("hang", f"no end after {TIME_LIMIT:g} seconds")
        told = ours.recv()
    except EOFError:
        process.join()
        return Failure("crash", f"the process ended with status {process.exitcode}")
    finally:
        process.join()
    return None if told is None else Failure(*told)


def _report(program: Program, modes: Modes, out: Connection) -> None:
    try:
        check(program, modes)
    except Failure as failure:
        out.send((failure.stage, failure.message))
    else:
        out.send(None)
    out.close()


def load_compiler() -> None:
    """Import all of the compiler now, so that every later process runs the same one."""
    with env.scope(TILELANG_DISABLE_CACHE=True):
        tilelang.compile(traced(generate(0)), target="c", compile_flags=FLAGS)
