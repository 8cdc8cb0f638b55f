"""Grammars compiled a first time in a process that nobody else needs.

What compiles them is native code at a stranger's rules: some bring it down, and its whole process
with it. Such a grammar is refused, and neither the HTTP process nor the engine ever sees it.
`python -m pandagpt.engine.grammar_checker FD` is the other side: the words of a vocabulary first,
then rules in, and a reason out, which is empty for what can be kept to.
"""

import resource
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import msgspec

from pandagpt.child_process import leave_signals_to_parent, limit, start_module
from pandagpt.engine.grammar import GrammarCompiler, Words
from pandagpt.engine.request import Grammar
from pandagpt.errors import InvalidSchema
from pandagpt.frames import Frame, receive, send
from pandagpt.logs import get_logger
from pandagpt.model.tokenizer import Tokenizer

log = get_logger()

# The costliest schema within the limits takes half a second; a process starts in one.
MAX_SECONDS = 10.0
END_SECONDS = 1.0
MAX_BYTES = 4 << 30
"""Of address space, most of which is never touched."""


class GrammarChecker:
    """A process that starts when it is first needed, and again if it is lost. For one thread;
    only `close` may come from another one."""

    def __init__(self) -> None:
        self._process: _Process | None = None

    def check(self, grammar: Grammar, tokenizer: Tokenizer, vocab_size: int) -> None:
        """Raises InvalidSchema."""
        if reason := self._reason(grammar, tokenizer, vocab_size):
            raise InvalidSchema(reason)

    def close(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()

    def _reason(self, grammar: Grammar, tokenizer: Tokenizer, vocab_size: int) -> str:
        for _ in range(2):
            process = self._started(tokenizer, vocab_size)
            if (reason := process.ask(grammar)) is not None:
                return reason
            status = process.status()
            self.close()
            log.error("grammar_checker_ended", status=status)
            if status != -signal.SIGKILL:
                break
            # That was somebody else: the grammar gets another chance.
        return "The answer cannot be held to this schema: it cannot be compiled."

    def _started(self, tokenizer: Tokenizer, vocab_size: int) -> "_Process":
        if self._process is None or self._process.tokenizer is not tokenizer:
            self.close()
            self._process = _Process(tokenizer, vocab_size)
        return self._process


class _Process:
    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self.tokenizer = tokenizer
        self._popen, self._channel = start_module(__name__)
        self._channel.settimeout(MAX_SECONDS)
        words = msgspec.msgpack.encode(Words.of(tokenizer, vocab_size))
        with suppress(OSError):  # it has ended; the first question tells
            send(self._channel, Frame(0, words))

    def ask(self, grammar: Grammar) -> str | None:
        """None: it has ended, or does not answer."""
        try:
            send(self._channel, Frame(0, grammar.rules.encode()))
        except OSError:
            return None
        frame = receive(self._channel)
        return str(frame.header, "utf-8") if frame else None

    def status(self) -> int | None:
        """Of one that has not answered. None: it is still at work."""
        with suppress(subprocess.TimeoutExpired):
            return self._popen.wait(END_SECONDS)
        return None

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()
        self._channel.close()


def serve(channel: socket.socket) -> None:
    """Returns when the other side has gone."""
    if (frame := receive(channel)) is None:
        return
    compiler = GrammarCompiler(msgspec.msgpack.decode(frame.header, type=Words))
    while (frame := receive(channel)) is not None:
        reason = _reason(compiler, Grammar(str(frame.header, "utf-8")))
        send(channel, Frame(0, reason.encode()))


def _reason(compiler: GrammarCompiler, grammar: Grammar) -> str:
    try:
        compiler.check(grammar)
    except InvalidSchema as error:
        return error.message
    return ""


def main(descriptor: int) -> None:
    leave_signals_to_parent()
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_AS, MAX_BYTES)
    with suppress(OSError):
        serve(socket.socket(fileno=descriptor))


if __name__ == "__main__":
    main(int(sys.argv[1]))
