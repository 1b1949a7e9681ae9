"""Checks that print what tests/tap.sh prints, so that tools/test.sh counts them."""

import sys
import traceback

failed = 0


def check(name, test, *arguments):
    """Passes when `test` returns without raising."""
    global failed
    try:
        test(*arguments)
        print(f"ok - {name}", flush=True)
    except Exception as error:
        failed += 1
        print(f"not ok - {name}", flush=True)
        words = str(error) if isinstance(error, AssertionError) and str(error) else traceback.format_exc()
        print("    " + words.replace("\n", "\n    "), flush=True)


def finish():
    sys.exit(failed > 0)
