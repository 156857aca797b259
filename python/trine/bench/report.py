"""What was measured: Markdown to read, JSON to compare, and a chart (SVG)."""

from __future__ import annotations

import dataclasses
from typing import Any
from xml.sax.saxutils import escape


@dataclasses.dataclass
class Table:
    title: str
    head: list[str]
    chart: str  # the column whose numbers are drawn; "" for none
    rows: list[list[str]] = dataclasses.field(default_factory=list)
    raw: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    note: str = ""

    def row(self, *cells: Any, raw: dict[str, Any] | None = None) -> None:
        self.rows.append([str(cell) for cell in cells])
        self.raw.append(raw or {})

    def markdown(self) -> str:
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        lines = "".join("| " + " | ".join(line) + " |\n" for line in (self.head, rule, *self.rows))
        return f"\n## {self.title}\n\n{lines}" + (f"\n{self.note}\n" if self.note else "")


class Report:
    def __init__(self, conditions: dict[str, Any], sentence: str, quiet: bool) -> None:
        """`quiet`: nothing on stdout before the end."""
        self.conditions, self.sentence, self.quiet = conditions, sentence, quiet
        self.tables: list[Table] = []
        if not quiet:
            print(sentence, flush=True)

    def table(self, title: str, head: list[str], *, chart: str = "", note: str = "") -> Table:
        self.tables.append(Table(title, head, chart, note=note))
        return self.tables[-1]

    def show(self, table: Table) -> None:
        if not self.quiet:
            print(table.markdown(), flush=True)

    def markdown(self) -> str:
        return f"# trine bench\n\n{self.sentence}\n" + "".join(table.markdown() for table in self.tables)

    def to_dict(self) -> dict[str, Any]:
        named = lambda table: [dict(zip(table.head, row)) | raw for row, raw in zip(table.rows, table.raw)]
        tables = [{"title": t.title, "head": t.head, "note": t.note, "rows": named(t)} for t in self.tables]
        return {"conditions": self.conditions, "tables": tables}

    def svg(self) -> str:
        """A panel of bars for each table that has a chart, for each of its batches."""
        panels = [panel for table in self.tables if table.chart for panel in _panels(table)]
        columns = 2 if len(panels) > 1 else 1
        drawn, heights = [], [0] * columns
        for panel in panels:
            column = heights.index(min(heights))
            drawn.append(_draw(*panel, column * _WIDTH, heights[column] + 30))
            heights[column] += 62 + _STEP * len(panel[2])
        width, height = columns * _WIDTH, max(heights) + 40
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
            + "".join(drawn)
            + f'<text x="12" y="{height - 12}" fill="#666" font-size="10">'
            + f"{escape(_cut(self.sentence, columns * 95))}</text>\n</svg>\n"
        )


_WIDTH, _STEP = 560, 19
_NAMES, _BARS = 170, 300  # widths


Bars = list[tuple[str, float]]


def _panels(table: Table) -> list[tuple[str, str, Bars]]:
    """(title, what is drawn, bars), one for each value of the second column where that is a batch."""
    value = table.head.index(table.chart)
    batched = table.head[1] in ("batch", "queries")
    better = "shorter" if table.chart.startswith("ms") else "longer"
    found: dict[str, Bars] = {}
    for row in table.rows:
        drawn = f"{table.chart}, {better} is better" + (f"; {table.head[1]}: {row[1]}" if batched else "")
        found.setdefault(drawn, []).append((row[0], float(row[value].split()[0])))
    return [(table.title, drawn, bars) for drawn, bars in found.items()]


def _draw(title: str, subtitle: str, bars: Bars, x: float, y: float) -> str:
    most = max((value for _, value in bars), default=0) or 1
    lines = [
        f'<text x="{x + 12}" y="{y}" font-weight="bold">{escape(_cut(title, 76))}</text>\n',
        f'<text x="{x + 12}" y="{y + 16}" fill="#666">{escape(subtitle)}</text>\n',
    ]
    y += 18
    for name, value in bars:
        y += _STEP
        length = max(1, _BARS * value / most)
        colour = "#1f6f8b" if name.startswith("trine") else "#c9ced6"
        lines.append(
            f'<text x="{x + 12 + _NAMES}" y="{y}" text-anchor="end">{escape(_cut(name, 28))}</text>'
            f'<rect x="{x + 20 + _NAMES}" y="{y - 11}" width="{length:.1f}" height="14" rx="2" fill="{colour}"/>'
            f'<text x="{x + 26 + _NAMES + length:.1f}" y="{y}" fill="#333">{value:g}</text>\n'
        )
    return "".join(lines)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
