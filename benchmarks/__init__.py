"""How fast, how large and how right: `python -m benchmarks.run [case …] --json FILE`.

Every time stands beside a baseline of the same run and beside an error against a slower, independent way, so that
fast and wrong never shows as fast.
"""
