"""Plots of what a later snapshot costs: against files, snapshots and change."""

from pathlib import Path

from series import Size

Figures = dict[str, dict[str, float]]
AXES = {"files": "files", "snapshots": "snapshots", "changed": "part of the files that changes"}


def plot(found: list[tuple[Size, Figures]], directory: Path) -> None:
    """Write a plot for each axis along which at least two sizes differ in nothing else."""
    import matplotlib as mpl  # noqa: PLC0415 - whoever wants no plots needs no plotting

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    directory.mkdir(parents=True, exist_ok=True)
    for axis, words in AXES.items():
        series = longest_along(axis, found)
        if len(series) < 2:  # noqa: PLR2004
            continue
        figure, axes = plt.subplots(figsize=(6, 4))
        places = [getattr(size, axis) for size, _ in series]
        for way in series[0][1]:
            axes.plot(places, [figures[way]["later"] for _, figures in series], "o-", label=way)
        axes.set(xscale="log", yscale="log", xlabel=words, ylabel="seconds a later snapshot")
        axes.set_title(fixed(series[0][0], axis))
        axes.legend()
        figure.savefig(directory / f"later-by-{axis}.png", dpi=120, bbox_inches="tight")
        plt.close(figure)


def longest_along(axis: str, found: list[tuple[Size, Figures]]) -> list[tuple[Size, Figures]]:
    """Return the most sizes that differ in `axis` alone, in its order."""
    groups: dict[str, list[tuple[Size, Figures]]] = {}
    for one in found:
        groups.setdefault(fixed(one[0], axis), []).append(one)
    best = max(groups.values(), key=len)
    return sorted(best, key=lambda one: getattr(one[0], axis))


def fixed(size: Size, axis: str) -> str:
    """Return in words what stays the same along an axis."""
    keys = [key for key in (*AXES, "kind") if key != axis]
    return ", ".join(f"{key} {getattr(size, key)}" for key in keys)
