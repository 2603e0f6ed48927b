"""Where each step of a plan is drawn: in columns by generation, ordered so that few edges cross.

Works on steps, never on nodes, and on any graph whose vertices are numbered in topological order.
Deterministic: the same plan is drawn the same way. Must not know how a drawing is written.

References
----------
Sugiyama, Tagawa, Toda: Methods for Visual Understanding of Hierarchical System Structures, IEEE
Transactions on Systems, Man and Cybernetics 11(2), 1981: layers, dummy vertices, barycentres.
Barth, Mutzel, Juenger: Simple and Efficient Bilayer Cross Counting, JGAA 8(2), 2004.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

DUMMIES_LIMIT = 20_000
"""Bends in all; the longest edges are drawn straight where there would be more."""
SWEEPS = 12

Edge = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Layout:
    """Places of vertices and ways of edges.

    Parameters
    ----------
    columns
        For each vertex its generation, from 0.
    heights
        For each vertex how far down it is, from 0, in units of one row.
    ways
        For each edge the points in between its ends, as (column, height).
    """

    columns: list[int]
    heights: list[float]
    ways: dict[Edge, list[tuple[int, float]]]

    @property
    def rows(self) -> float:
        """Height of the whole, in rows."""
        points = [height for way in self.ways.values() for _, height in way]
        return max([*self.heights, *points], default=0.0) + 1


def layout(parents: Sequence[Sequence[int]]) -> Layout:
    """The layout of a graph.

    Parameters
    ----------
    parents
        For each vertex the vertices it hangs below, all of lower number.
    """
    columns = columns_of(parents)
    graph = _Proper(parents, columns)
    graph.reorder()
    heights = graph.heights()
    ways = {edge: [(graph.column[dummy], heights[dummy]) for dummy in chain] for edge, chain in graph.chains.items()}
    return Layout(columns, heights[: len(parents)], ways)


def columns_of(parents: Sequence[Sequence[int]]) -> list[int]:
    """Length of the longest way to each vertex."""
    columns: list[int] = []
    for above in parents:
        columns.append(max((columns[parent] for parent in above), default=-1) + 1)
    return columns


class _Proper:
    """The graph with a dummy vertex wherever an edge passes a column, and the order in each column."""

    def __init__(self, parents: Sequence[Sequence[int]], columns: Sequence[int]) -> None:
        self.column = list(columns)
        self.up: list[list[int]] = [[] for _ in parents]
        self.down: list[list[int]] = [[] for _ in parents]
        self.chains: dict[Edge, list[int]] = {}
        self._limit = len(parents) + DUMMIES_LIMIT
        edges = [(parent, child) for child, above in enumerate(parents) for parent in above]
        for parent, child in sorted(edges, key=lambda edge: (columns[edge[1]] - columns[edge[0]], edge)):
            self.chains[parent, child] = self._join(parent, child)
        self.layers: list[list[int]] = [[] for _ in range(max(self.column, default=-1) + 1)]
        for vertex, column in enumerate(self.column):
            self.layers[column].append(vertex)

    def _join(self, parent: int, child: int) -> list[int]:
        """Connect two vertices; the dummies in between, none where there are too many already."""
        between = range(self.column[parent] + 1, self.column[child])
        if between and len(self.column) + len(between) > self._limit:
            return []
        chain = list(range(len(self.column), len(self.column) + len(between)))
        self.column.extend(between)
        self.up.extend([] for _ in chain)
        self.down.extend([] for _ in chain)
        for above, below in zip([parent, *chain], [*chain, child], strict=True):
            self.down[above].append(below)
            self.up[below].append(above)
        return chain

    def reorder(self) -> None:
        """Sweep forth and back, each vertex to the mean place of its neighbours; the best order stays."""
        place = [0] * len(self.column)
        for layer in self.layers:
            _number(layer, place)
        best, fewest = [list(layer) for layer in self.layers], self._crossings(place)
        for sweep in range(SWEEPS):
            if fewest == 0:
                break
            forth = sweep % 2 == 0
            neighbours = self.up if forth else self.down
            for layer in self.layers if forth else reversed(self.layers):
                layer.sort(key=lambda vertex: _mean(neighbours[vertex], place, place[vertex]))
                _number(layer, place)
            crossings = self._crossings(place)
            if crossings < fewest:
                best, fewest = [list(layer) for layer in self.layers], crossings
        self.layers = best

    def _crossings(self, place: Sequence[int]) -> int:
        return sum(
            _inversions([end for vertex in layer for end in sorted(place[below] for below in self.down[vertex])])
            for layer in self.layers
        )

    def heights(self) -> list[float]:
        """Rows from the top: near the neighbours, in order, at least one row apart."""
        height = [0.0] * len(self.column)
        for layer in self.layers:
            for row, vertex in enumerate(layer):
                height[vertex] = float(row)
        for sweep in range(6):
            neighbours = self.up if sweep % 2 == 0 else self.down
            for layer in self.layers if sweep % 2 == 0 else reversed(self.layers):
                wanted = [_mean(neighbours[vertex], height, height[vertex]) for vertex in layer]
                for vertex, place in zip(layer, _apart(wanted), strict=True):
                    height[vertex] = place
        top = min(height, default=0.0)
        return [place - top for place in height]


def _number(layer: Iterable[int], place: list[int]) -> None:
    for row, vertex in enumerate(layer):
        place[vertex] = row


def _mean(vertices: Sequence[int], place: Sequence[float], otherwise: float) -> float:
    return sum(place[vertex] for vertex in vertices) / len(vertices) if vertices else otherwise


def _inversions(numbers: Sequence[int]) -> int:
    """Pairs in the wrong order, counted with a Fenwick tree."""
    size = max(numbers, default=0) + 1
    tree = [0] * (size + 1)
    found = 0
    for seen, number in enumerate(numbers):
        smaller, index = 0, number + 1
        while index:
            smaller += tree[index]
            index &= index - 1
        found += seen - smaller
        index = number + 1
        while index <= size:
            tree[index] += 1
            index += index & -index
    return found


def _apart(wanted: Sequence[float]) -> list[float]:
    """The places nearest to ``wanted``, in order and at least 1 apart: pool adjacent violators."""
    blocks: list[tuple[float, int]] = []
    for row, place in enumerate(wanted):
        total, count = float(place - row), 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / count:
            more, others = blocks.pop()
            total, count = total + more, count + others
        blocks.append((total, count))
    firsts = [total / count for total, count in blocks for _ in range(count)]
    return [first + row for row, first in enumerate(firsts)]
