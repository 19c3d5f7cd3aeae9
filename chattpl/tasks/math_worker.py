r"""math-verify in a process of its own, which can be stopped.

A model may answer `\boxed{10^{10^{10}}}`: math-verify then computes for ever, and its own time limits are signals,
which only the main thread may set, which no call into C code heeds, and which no limit on memory goes with. Here the
library has a main thread and limits of its own, and what it logs is not heard.

Run as a script it answers on standard output each request line (a JSON list) that it reads on standard input:
`["extract", text]` with a string or null, `["verify", extracted, gold]` with true or false.
"""

import inspect
import json
import subprocess
import sys
import threading
from typing import IO

_SECONDS = 5  # for one parse or comparison, by math-verify's own limit; usual ones take 2 ms
_SECONDS_TO_KILL = 40  # for one request in total
_MEMORY = 4 << 30  # bytes of address space


class MathWorker:
    """The process, started when first asked, and again after it had to be killed. Safe to ask from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def extract(self, text: str) -> str | None:
        """What math-verify takes for the answer in `text`."""
        found = self._ask("extract", text)
        return found if isinstance(found, str) else None

    def verify(self, extracted: str, gold: str) -> bool:
        """Whether two LaTeX expressions are equal; not so if one cannot be parsed, or not within the limits."""
        return bool(self._ask("verify", extracted, gold))

    def _ask(self, *request: str) -> str | bool | None:
        with self._lock:
            process = self._running()
            killer = threading.Timer(_SECONDS_TO_KILL, process.kill)
            killer.start()
            try:
                print(json.dumps(request), file=process.stdin, flush=True)
                reply = _next_line(process)
            except BrokenPipeError:
                reply = ""
            except BaseException:  # interrupted: the reply to come would be taken for that of the next request
                process.kill()
                raise
            finally:
                killer.cancel()
            if not reply:
                process.kill()
                process.wait()
            answer: str | bool | None = json.loads(reply) if reply else None
            return answer

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            # Named by its function, so that what it does belongs to what `codehash` reads.
            command = [sys.executable, "-P", inspect.getfile(_serve)]
            pipe, null = subprocess.PIPE, subprocess.DEVNULL
            # In a session of its own, so that Ctrl-C on the terminal is the business of this process alone.
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=null, text=True, encoding="utf-8", start_new_session=True
            )
            if _next_line(self._process) != "ready\n":
                raise RuntimeError("math-verify does not start; see `python -c 'import math_verify'`")
        return self._process


def _next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # a pipe
    return process.stdout.readline()


def _serve(requests: IO[str], replies: IO[str]) -> None:
    import resource

    from math_verify import parse, verify

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    print("ready", file=replies, flush=True)
    for request in requests:
        kind, *arguments = json.loads(request)
        if kind == "extract":
            found = parse(arguments[0], parsing_timeout=_SECONDS)
            reply = next((one for one in reversed(found) if isinstance(one, str) and one.strip()), None)
        else:
            extracted, gold = (parse(f"\\boxed{{{latex}}}", parsing_timeout=_SECONDS) for latex in arguments)
            reply = verify(gold, extracted, timeout_seconds=_SECONDS)
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    _serve(sys.stdin, sys.stdout)
