# A process that confines itself with libseccomp in mid-stream and says what its calls return. Lines that begin with "own" are
# about specialized calls. Argument: the file that it writes its number to.
import errno
import os
import sys

import seccomp

ROUNDS = 50
reader, writer = os.pipe()
attach = sys.argv[1]


def hits():
    """Calls that paths have done for this process."""
    total = 0
    for path in (f"{reader}.read", f"{writer}.write"):
        try:
            with open(f"/sys/kernel/synthjit/processes/{os.getpid()}/fds/{path}/hits") as file:
                total += int(file.read())
        except OSError:
            pass
    return total


def result(call, *arguments):
    """What a call returns: its value, or the name of its error."""
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


def mixture():
    """Calls that the filter allows, and two that it does not: a long write to the pipe and a write to a closed descriptor."""
    results = []
    for n in range(ROUNDS):
        results.append(result(os.write, writer, b"a" * (n % 7 + 1)))
        results.append(result(os.write, writer, b"b" * 100))
        results.append(result(os.read, reader, 200))
        results.append(result(os.write, 999, b"c"))
    return results


with open(attach, "w") as file:
    file.write(str(os.getpid()))
for _ in range(100):
    mixture()
    if hits() > 0:
        break

before = hits()
free = mixture()
print("own specialized before", hits() > before)

rules = seccomp.SyscallFilter(seccomp.ALLOW)
to_pipe = seccomp.Arg(0, seccomp.EQ, writer)
rules.add_rule(seccomp.ERRNO(errno.EDQUOT), "write", to_pipe, seccomp.Arg(2, seccomp.EQ, 100))
rules.add_rule(seccomp.KILL_PROCESS, "write", to_pipe, seccomp.Arg(2, seccomp.EQ, 99))
rules.load()

before = hits()
filtered = mixture()
print("own specialized afterwards", hits() > before)
print("free", free)
print("filtered", filtered, flush=True)
os.write(writer, b"k" * 99)
print("alive", flush=True)
