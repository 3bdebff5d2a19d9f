"""Two plots as SVG, written by hand so that they are the same on every machine."""

import math
from html import escape

_COLORS = {
    "kbert": "#1b6ca8",
    "keras": "#c44536",
    "trainer": "#e09f3e",
    "trainer-dynamic": "#8a817c",
    "trainer-best": "#3a7d44",
}
_TEXT = 'font-family="sans-serif" font-size="12"'
_WIDTH = 720
_LEFT, _RIGHT = 230, 690


def draw_ratios(records: list[dict], device: str) -> str:
    """Draw how many times faster kbert trains, a bar an opponent.

    Args:
        records: of training, on one device.
        device: its name.
    """
    shown = [one["result"] for one in records if one["result"]["ratio"]]
    shown.sort(key=lambda one: (one["preset"], one["workload"], one["against"]))
    highest = max((one["ratio_high"] for one in shown), default=1)
    scale = _LogScale(min(0.8, *(one["ratio_low"] for one in shown)), highest)
    height = 70 + 20 * len(shown)
    parts = [_text(10, 20, f"Training speed: kbert over the other ({device})")]
    parts += _axis(scale, height - 25, 32)
    for place, one in enumerate(shown):
        parts += _bar(one, scale, 40 + 20 * place)
    parts.append(_line(scale(1), 32, scale(1), height - 25, "#000000"))
    return _wrap(parts, height)


def draw_padding(records: list[dict], device: str) -> str:
    """Draw the time of a thousand real tokens against the share of padding.

    Args:
        records: of training, on one device.
        device: its name.
    """
    points = []
    for record in records:
        result = record["result"]
        share = result["padding_share"]["documented"]
        for side, rate in result["tokens_per_second"].items():
            points.append((side, share, 1e6 / rate, result))
    times = [time for _, _, time, _ in points]
    scale = _LogScale(min(times), max(times), first=360, last=50)
    title = "Milliseconds a thousand real tokens, against the share of padding"
    parts = [_text(10, 20, f"{title} ({device})")]
    for value in scale.ticks():
        parts.append(_line(60, scale(value), _RIGHT, scale(value), "#dddddd"))
        parts.append(_text(54, scale(value) + 4, f"{value:g}", "end"))
    for step in range(0, 101, 20):
        x = 60 + (_RIGHT - 60) * step / 100
        parts.append(_text(x, 385, f"{step} %", "middle"))
    for side, share, time, result in points:
        label = f"{side}, {result['workload']}, {result['preset']}: {time:.1f} ms"
        x = 60 + (_RIGHT - 60) * share
        parts.append(
            f'<circle cx="{x:.1f}" cy="{scale(time):.1f}" r="5" '
            f'fill="{_color(side)}" fill-opacity="0.8"><title>{escape(label)}'
            "</title></circle>"
        )
    sides = sorted({side for side, *_ in points})
    for place, side in enumerate(sides):
        x = 60 + 130 * place
        parts.append(f'<circle cx="{x}" cy="410" r="5" fill="{_color(side)}"/>')
        parts.append(_text(x + 10, 414, side))
    return _wrap(parts, 430)


class _LogScale:
    """Maps values between two bounds to pixels, logarithmically."""

    def __init__(self, low: float, high: float, first: int = _LEFT, last: int = _RIGHT):
        self._low, self._high = math.log(low * 0.9), math.log(high * 1.1)
        self._first, self._last = first, last

    def __call__(self, value: float) -> float:
        share = (math.log(value) - self._low) / (self._high - self._low)
        return self._first + share * (self._last - self._first)

    def ticks(self) -> list[float]:
        """Return 1, 2 and 5 times the powers of ten within the bounds."""
        candidates = (m * 10.0**e for e in range(-3, 6) for m in (1, 2, 5))
        return [one for one in candidates if self._low <= math.log(one) <= self._high]


def _axis(scale: _LogScale, bottom: float, top: float) -> list[str]:
    parts = []
    for value in scale.ticks():
        parts.append(_line(scale(value), top, scale(value), bottom, "#dddddd"))
        parts.append(_text(scale(value), bottom + 16, f"{value:g}", "middle"))
    return parts


def _bar(result: dict, scale: _LogScale, top: float) -> list[str]:
    start, end = sorted((scale(1), scale(result["ratio"])))
    preset = result["preset"].split("/")[-1]
    name = "MiniLM" if "minilm" in preset else preset.removesuffix("-random")
    label = f"{name}, {result['workload']}, {result['against']}"
    middle = top + 7
    return [
        _text(_LEFT - 8, top + 11, label, "end"),
        f'<rect x="{start:.1f}" y="{top}" width="{end - start:.1f}" height="14" '
        f'fill="{_color(result["against"])}"/>',
        _line(
            scale(result["ratio_low"]), middle, scale(result["ratio_high"]), middle,
            "#000000",
        ),
    ]  # fmt: skip


def _color(side: str) -> str:
    return _COLORS.get(side, "#777777")


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" {_TEXT} text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{color}"/>'
    )


def _wrap(parts: list[str], height: int) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}">\n'
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )
