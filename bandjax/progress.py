"""The progress of a fit, for people."""

import argparse
from collections.abc import Callable
from typing import Any


class Bar:
    """The progress of a fit of so many stages (or in `words` of one's own), on stderr for people (a terminal, not quiet, no JSON); otherwise nothing."""

    def __init__(
        self, options: argparse.Namespace, stages: int, words: Callable[[dict[str, Any]], str] | None = None
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        shown = console.is_terminal and not (options.json or getattr(options, "quiet", False))
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, disable=not shown
        )
        self.stages, self.words = stages, words
        self.task = self.bar.add_task("compiling …", total=None)

    def __enter__(self) -> Callable[[dict[str, Any]], None]:
        self.bar.start()
        return self._step

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def _step(self, entry: dict[str, Any]) -> None:
        if self.words is not None:
            self.bar.update(self.task, description=self.words(entry))
            return
        stage = int(entry["stage"]) + 1
        words = f"stage {stage}/{max(self.stages, stage)}, step {int(entry['step'])}: −log L {entry['cost']:.6g}, promised {entry['promised']:.2g}"
        self.bar.update(self.task, description=words)
