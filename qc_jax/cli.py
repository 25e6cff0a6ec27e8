"""The command `qc-jax`: what is common to all it does, namely signals, errors and exit codes.

Nothing is imported before it is known what to do: `--help` answers at once.
"""

import os
import sys
import traceback

import qc_jax
from qc_jax import interrupt, missing
from qc_jax.errors import UNFORESEEN, QcJaxError, one_line
from qc_jax.terminal import note, say

_OVERVIEW = """\
usage: qc-jax BIDS_DIR OUTPUT_DIR {participant,group} [options]   a whole study (BIDS App)
       qc-jax score SCAN... --output-dir DIR [options]            single scans
       qc-jax watch FOLDER --output-dir DIR [options]             scans as they arrive
       qc-jax preview SCAN [--output-dir DIR]                     artefacts on your own scan
       qc-jax models [MODEL...]                                   which models there are

Can these MRI scans be trusted for measuring the brain, and if not, what is wrong with them?
Each T1-weighted scan gets a segmentation of its grey matter, a map of how uncertain it is for
every cause (the anatomy, motion, an RF spike, noise, ghosting, blur, wrap-around), a score for
each cause, and a report to open in a browser.

  qc-jax score --help, qc-jax BIDS_DIR --help, ...   all options
  qc-jax --version

Exit codes: 0 all scored, 1 some scans refused and the others scored, 2 usage, 3 model,
4 output, 70 something unforeseen, 75 stopped by SIGTERM, 130 interrupted. Called again, it
does only what is missing.
"""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _open_closed_streams()
    with interrupt.at_once():
        try:
            return _dispatch(arguments)
        except QcJaxError as error:
            note(f"error: {error}")
            return error.exit_code
        except interrupt.Ended as ended:
            interrupt.say_so()
            return interrupt.exit_code(ended.number)
        except Exception as error:
            if os.environ.get("QC_JAX_DEBUG"):
                traceback.print_exc()
            note(
                f"error: unforeseen, a fault of qc_jax itself: {type(error).__name__}: "
                f"{one_line(error)} (QC_JAX_DEBUG=1 shows where; please report it)"
            )
            return UNFORESEEN


def _open_closed_streams() -> None:
    """Where a stream is closed (`2>&-`), its number would be that of the next file opened."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        say(_OVERVIEW.rstrip())
        return 0 if arguments else 2
    if "--version" in arguments:
        say(f"qc_jax {qc_jax.__version__}")
        return 0
    if arguments[0] in ("score", "preview"):
        missing.refuse_where_nothing_is(arguments[1:])
    from qc_jax import commands

    return commands.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
