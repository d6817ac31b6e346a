"""Tables of what work costs: seconds, and where traps are counted, also without their price."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from cost import Cost, is_counted
from prices import Prices, median, median_without

WORDS_WIDTH = 46
_COUNTED = ("seconds", "without", "calls", "faults")


class Table:
    """Prints costs by row; where traps are counted, with the columns for them.

    `prices` are what traps take here beyond what they take on the host.
    """

    def __init__(self, prices: Prices) -> None:
        self.prices = prices

    def heading(self, title: str, *more: str) -> None:
        """Print the names of the columns; `more` are those of `row`."""
        names = (*(_COUNTED if is_counted() else _COUNTED[:1]), *more)
        print(f"\n  {title:<{WORDS_WIDTH}}" + "".join(f"{name:>11}" for name in names))

    def row(self, words: str, costs: Sequence[Cost], *more: float | str) -> None:
        """Print the medians of costs."""
        middle = median(costs)
        cells = [f"{middle.seconds:11.3f}"]
        if is_counted():
            without = median_without(self.prices, costs)
            cells += [f"{without:11.3f}", f"{middle.calls:11,.0f}", f"{middle.faults:11,.0f}"]
        cells += [f"{one:>11}" if isinstance(one, str) else f"{one:11.3f}" for one in more]
        print(f"  {words:<{WORDS_WIDTH}}" + "".join(cells), flush=True)

    def ratios(self, costs: Sequence[Cost], others: Sequence[Cost]) -> tuple[float, float]:
        """Return how many times as much others cost; then the same without the price of traps."""
        raw = statistics.median(one.seconds for one in others) / median(costs).seconds
        ours, theirs = (median_without(self.prices, some) for some in (costs, others))
        return raw, theirs / ours

    def said(self, ratios: tuple[float, float]) -> str:
        """Return ratios in words."""
        raw, without = ratios
        return f"{raw:.2f} x" + (f", without traps {without:.2f} x" if is_counted() else "")

    def prices_said(self) -> str:
        """Return in words what traps cost here."""
        if not is_counted():
            return ""
        return f"beyond the host, this machine takes {self.prices}; `without` is without that"

    def document(self, costs: Iterable[Cost]) -> dict[str, Any]:
        """Return medians for a JSON file."""
        middle = median(some := list(costs))
        without = median_without(self.prices, some)
        parts = {"calls": middle.calls, "faults": middle.faults, "seconds_without": without}
        return {"seconds": middle.seconds, **(parts if is_counted() else {})}
