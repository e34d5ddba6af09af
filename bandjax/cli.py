"""The command line: `bandjax materials | bands | simulate | init-config | fit | report | invert | train | adapt |
reconstruct | retrieve | field | fingerprint | nearest | demo`.

Errors a user can mend are one sentence on stderr and exit code 2. `--json` prints one JSON object on stdout, and
nothing else goes there.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from bandjax.parser import make_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0, or 2 with one sentence on stderr, 130 when interrupted)."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "run"):
        parser.print_help()
        return 0
    import jax

    jax.config.update("jax_enable_x64", True)
    from bandjax import commands, devices

    devices.one_core_a_matrix()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_, **__: print(f"bandjax: note: {message}", file=sys.stderr)
            found = commands.RUN[options.run](options)
    except KeyboardInterrupt:
        again = {
            "train": "the same command",
            "fingerprint": "the same command" if options.run == "fingerprint" and _has_parts(options) else None,
            "fit": "`bandjax fit … --resume`",
            "retrieve": "`bandjax retrieve … --resume`",
        }.get(options.run)
        goes_on = f"; {again} goes on from the last step" if again else ""
        print(f"bandjax: interrupted{goes_on}.", file=sys.stderr)
        return 130
    except (ValueError, TypeError, KeyError, OSError, ImportError, FloatingPointError) as error:
        print(f"bandjax: {_sentence(error)}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(found, default=_plain))
    return 0


def _has_parts(options: argparse.Namespace) -> bool:
    from bandjax.commands_fingerprints import parts_of

    parts = parts_of(options)
    return parts is not None and any(parts.glob("*.npz"))


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"File {error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())


def _plain(x: Any) -> Any:
    return x.tolist() if hasattr(x, "tolist") else str(x)


if __name__ == "__main__":
    sys.exit(main())
