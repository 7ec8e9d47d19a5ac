"""Runs recipes in children that are killed with SIGKILL: just before one of their file operations, or after some time.

Each line of standard input is a job, {"recipe": YAML file, "store": path, "at": number of the operation, or null,
"after": seconds, or null}; each line of standard output its result, {"signal": what ended the child, "operations":
[[name, path], …]}, the operations only of a child that ended by itself. This process computes nothing, so that its
children can be forked.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import moments_xr.propagation.block  # noqa: F401  children start with everything imported
from moments_xr.recipe import Recipe
from moments_xr.run import run

CHANGES = {"os.rename": 1, "os.link": 1, "os.remove": 0, "os.rmdir": 0, "os.mkdir": 0, "os.truncate": 0, "open": 0}
"""Audit events that change files, and which argument is the path that changes."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def watch(folder: str, at: int | None) -> list[tuple[str, str]]:
    """Operations below the folder, in order; the one numbered `at` does not happen any more."""
    operations: list[tuple[str, str]] = []

    def hook(event: str, arguments: tuple) -> None:
        if event not in CHANGES or (event == "open" and not arguments[2] & WRITING):
            return
        path = arguments[CHANGES[event]]
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(folder):
            operations.append((event, os.fspath(path)))
            if at is not None and len(operations) > at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return operations


def child(job: dict, results: int) -> None:
    operations = watch(str(Path(job["store"]).parent), job.get("at"))
    run(Recipe.from_yaml(job["recipe"]), job["store"], progress=False)
    with os.fdopen(results, "w") as pipe:
        json.dump(list(operations), pipe)


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        receive, send = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(receive)
            child(job, send)
            os._exit(0)
        os.close(send)
        if job.get("after") is not None:
            killer = threading.Timer(job["after"], os.kill, (pid, signal.SIGKILL))
            killer.start()
        with os.fdopen(receive) as pipe:
            text = pipe.read()
        if job.get("after") is not None:
            killer.cancel()
            killer.join()
        _, status = os.waitpid(pid, 0)
        ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        operations = [] if ended else json.loads(text)  # killed while it tells them, a child has told a part
        print(json.dumps({"signal": ended, "operations": operations}), flush=True)


if __name__ == "__main__":
    main()
