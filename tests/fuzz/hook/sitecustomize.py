"""What a process under attack imports first, because this folder is on its PYTHONPATH.

FUZZ_FOLDER   nothing may be written elsewhere, and no process started
FUZZ_KILL     number of the file operation in that folder before which the process kills itself; 0 counts them only
FUZZ_COUNT    file for that count
"""

import atexit
import faulthandler
import os
import signal
import sys
from pathlib import Path

STARTS = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.Popen"}
STARTS |= {"pickle.find_class", "socket.connect", "socket.bind", "socket.getaddrinfo", "webbrowser.open"}
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.chmod"}
APART = ("__pycache__", "matplotlib")  # caches
DEVICES = {"/dev/null", "/dev/zero", "/dev/full"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def watch(folder: str, kill: int | None = None, count: str | None = None) -> None:
    """From now on nothing is executed or written outside the folder; the process dies before the `kill`-th change."""
    folder, done = os.path.realpath(folder), 0

    def step():
        nonlocal done
        done += 1
        if done == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event, arguments):
        if event in STARTS:
            end(f"executed {event} {arguments!r:.200}")
        is_open = event == "open" and isinstance(arguments[0], str | bytes) and arguments[2] & WRITING
        if not is_open and event not in CHANGES:
            return
        for path in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
            if isinstance(path, str | bytes | os.PathLike) and not allowed(os.fsdecode(path), event):
                end(f"executed a change of {os.fsdecode(path)}")
        if kill is not None:
            step()

    def allowed(path, event):
        whole = os.path.realpath(path)
        if event == "os.mkdir" and os.path.exists(whole):  # it will fail
            return True
        # A device may be written to, never replaced: the attack may run as root.
        return (
            f"{whole}/".startswith(f"{folder}/")
            or (event == "open" and whole in DEVICES)
            or any(part in path for part in APART)
        )

    def fsync(descriptor, sync=os.fsync):
        step()
        sync(descriptor)

    if kill is not None:
        os.fsync = fsync
    if count:
        atexit.register(lambda: Path(count).write_text(str(done)))
    faulthandler.enable()
    for number in (signal.SIGXCPU, signal.SIGALRM):
        faulthandler.register(number, chain=True)
    sys.addaudithook(hook)


def end(message):
    os.write(2, message.encode(errors="backslashreplace") + b"\n")
    os._exit(98)


if "FUZZ_FOLDER" in os.environ:
    kill = os.environ.get("FUZZ_KILL")
    watch(os.environ["FUZZ_FOLDER"], kill and int(kill), os.environ.get("FUZZ_COUNT"))
