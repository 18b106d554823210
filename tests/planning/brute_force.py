"""Every schedule of a small placement workload, in plain Python: slow, and plain to see right.

Only schedules without copies. For each order in which parents come first and each choice of
nodes, every task starts as early as it can, but on its node not before the tasks ahead of it in
the order. An optimal schedule, its tasks ordered by their starts, is never better than what this
makes of the same order and nodes. Imported by path, never installed.
"""

import math

ROUNDING = 1e-9


def last_finish(w, finished):
    """Return the last finish of what has been scheduled; ``finished`` maps tasks to seconds."""
    return max(finished.values(), default=0.0)


def mean_response(w, finished):
    """Return the mean over jobs of completion minus arrival; 0 for jobs not yet scheduled."""
    total = 0.0
    for job, arrival in enumerate(w.arrival):
        tasks = range(w.job_ptr[job], w.job_ptr[job + 1])
        done = [finished[i] for i in tasks if i in finished]
        total += max(done) - (arrival - w.arrival[0]) if done else 0.0
    return total / len(w.arrival)


def transfer(w, edge, source, target):
    """Return the seconds that the data of an edge take between two nodes."""
    if source == target or w.data[edge] == 0:
        return 0.0
    return w.latency[source, target] + w.data[edge] / w.bandwidth[source, target]


def least(w, durations, goal=last_finish):
    """Return the least value of a goal over all schedules; times count from the first arrival.

    Args:
        w: The workload.
        durations: Seconds of each task on each node, inf where it does not fit; [n, M].
        goal: Of the workload and the finishes; one that no further task can lessen.
    """
    n, nodes = durations.shape
    demand = [w.demand[w.profile_of_type[t]] for t in w.type_of]
    best = [math.inf]

    def start_of(task, m, placed):
        ready = w.arrival[w.job_of[task]] - w.arrival[0]
        for edge in range(w.parent_ptr[task], w.parent_ptr[task + 1]):
            node, _, finish = placed[w.parents[edge]]
            ready = max(ready, finish + transfer(w, edge, node, m))
        here = [(s, f, demand[o]) for o, (node, s, f) in placed.items() if node == m]
        ready = max([ready, *(s for s, _, _ in here)])
        for at in sorted([ready, *(f for _, f, _ in here if f > ready)]):
            used = sum((d for _, f, d in here if f > at), start=demand[task])
            if all(used <= w.capacity[m] + ROUNDING):
                return at
        raise AssertionError("a task fits an empty node")

    def extend(placed):
        value = goal(w, {task: finish for task, (_, _, finish) in placed.items()})
        if value >= best[0]:
            return
        if len(placed) == n:
            best[0] = value
            return
        for task in range(n):
            parents = w.parents[w.parent_ptr[task] : w.parent_ptr[task + 1]]
            if task in placed or any(p not in placed for p in parents):
                continue
            for m in range(nodes):
                if math.isinf(durations[task, m]):
                    continue
                start = start_of(task, m, placed)
                extend({**placed, task: (m, start, start + durations[task, m])})

    extend({})
    return best[0]
