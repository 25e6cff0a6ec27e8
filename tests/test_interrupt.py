"""A signal ends a command in one sentence, whatever swallows the exception."""

import signal
import subprocess
import sys

import pytest

SENTENCE = "interrupted; what was scored is kept, run the same command to go on\n"


def ended(code):
    done = subprocess.run(
        [sys.executable, "-c", f"import os, time\nfrom qc_jax import interrupt\n{code}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
@pytest.mark.parametrize("block", ["at_once", "in_order"])
def test_an_exception_that_is_swallowed_ends_nothing_less(block, number, code):
    """As while modules are imported, or in a callback."""
    found = ended(
        f"with interrupt.{block}():\n"
        f"    try: os.kill(os.getpid(), {int(number)}); time.sleep(0.1)\n"
        "    except BaseException: pass\n"
        "    time.sleep(50)"
    )
    assert found == (code, SENTENCE)


def test_what_is_at_work_is_put_in_order():
    code, said = ended(
        "try:\n"
        "    with interrupt.in_order():\n"
        "        try: os.kill(os.getpid(), 15); time.sleep(1)\n"
        "        finally: print('in order', file=__import__('sys').stderr)\n"
        "except interrupt.Ended as error: time.sleep(3); raise SystemExit(error.number)"
    )
    assert (code, said) == (15, "in order\n")


def test_a_second_signal_does_not_wait():
    code = (
        "with interrupt.in_order():\n"
        "    try: os.kill(os.getpid(), 15); time.sleep(1)\n"
        "    finally: os.kill(os.getpid(), 15); time.sleep(1); print('waited')"
    )
    assert ended(code) == (75, SENTENCE)


def test_an_ignored_signal_stays_ignored():
    """As nohup has it."""
    code = "import signal; signal.signal(2, signal.SIG_IGN)\n"
    code += "with interrupt.at_once(): os.kill(os.getpid(), 2)"
    assert ended(code) == (0, "")
