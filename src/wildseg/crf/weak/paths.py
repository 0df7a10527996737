"""A skeleton as a graph: pruned of short branches, and reduced to the longest path of each component."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

SIDES = ((0, 1), (1, 0))
CORNERS = ((1, 1), (1, -1))


def longest_paths(skeleton: np.ndarray, shortest_branch: float) -> np.ndarray:
    """Return the longest path of each component of a skeleton, (H, W) bool, after pruning.

    A branch leads from an end point to a junction. Those shorter than `shortest_branch` are removed, all at once,
    except in a component without any other pixel than junctions. The longest path is the longest shortest path
    between two pixels (the diameter), found by two searches; with loops they may find a slightly shorter one.

    Args:
        skeleton: (H, W) bool, lines of one pixel.
        shortest_branch: in pixels; a diagonal step has the length sqrt(2).
    """
    places = np.argwhere(skeleton)
    if not len(places):
        return np.zeros_like(skeleton)
    graph = _graph(skeleton, places)
    _, part = csgraph.connected_components(graph, directed=False)
    kept = ~_short_branches(graph, shortest_branch)
    degree = _degrees(graph)
    for index in np.setdiff1d(part, part[kept & (degree < 3)]):
        kept[part == index] = True
    places, graph = places[kept], graph[kept][:, kept]
    path = np.zeros_like(skeleton)
    _, part = csgraph.connected_components(graph, directed=False)
    for index in range(part.max() + 1):
        members = np.flatnonzero(part == index)
        rows, columns = places[members[_longest(graph[members][:, members])]].T
        path[rows, columns] = True
    return path


def _graph(skeleton: np.ndarray, places: np.ndarray) -> sparse.csr_array:
    """Return the distances between adjacent pixels, (n, n) and symmetric.

    Diagonal pixels are adjacent only where no side neighbour connects them: a staircase is a line without junctions.
    """
    number = np.full(np.add(skeleton.shape, 2), -1)
    number[places[:, 0] + 1, places[:, 1] + 1] = np.arange(len(places))
    starts, ends, lengths = [], [], []
    for row, column in (*SIDES, *CORNERS):
        at = places + 1
        neighbour = number[at[:, 0] + row, at[:, 1] + column]
        there = neighbour >= 0
        if row and column:
            there &= (number[at[:, 0] + row, at[:, 1]] < 0) & (number[at[:, 0], at[:, 1] + column] < 0)
        starts.append(np.flatnonzero(there))
        ends.append(neighbour[there])
        lengths.append(np.full(there.sum(), np.hypot(row, column)))
    one_way = sparse.csr_array(
        (np.concatenate(lengths), (np.concatenate(starts), np.concatenate(ends))), (len(places), len(places))
    )
    return (one_way + one_way.T).tocsr()


def _degrees(graph: sparse.csr_array) -> np.ndarray:
    return np.diff(graph.indptr)


def _short_branches(graph: sparse.csr_array, shortest: float) -> np.ndarray:
    """Return which pixels (n,) bool belong to a shorter branch, its step to the junction included."""
    degree = _degrees(graph)
    fork = degree > 2
    line = np.flatnonzero(~fork)
    within = graph[line][:, line]
    number, piece = csgraph.connected_components(within, directed=False)
    inside = np.bincount(piece, np.asarray(within.sum(1)).ravel(), number) / 2  # each step counts at both its ends
    towards = graph[line][:, np.flatnonzero(fork)]
    to_fork = np.bincount(piece, np.asarray(towards.sum(1)).ravel(), number)
    loose = np.bincount(piece, degree[line] == 1, number) > 0
    short = loose & (to_fork > 0) & (inside + to_fork < shortest)
    found = np.zeros(len(degree), bool)
    found[line[short[piece]]] = True
    return found


def _longest(graph: sparse.csr_array) -> list[int]:
    """Return the pixels of the longest path of a connected graph."""
    start = int(csgraph.dijkstra(graph, directed=False, indices=0).argmax())
    distance, before = csgraph.dijkstra(graph, directed=False, indices=start, return_predecessors=True)
    path = [int(distance.argmax())]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    return path
