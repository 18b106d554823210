"""A slow, obviously correct simulator of the allocation family, in plain Python."""

import heapq
import itertools


def simulate(workload, durations, start_delay, seen_delay, profile_of_type):
    """Run every job with one fixed profile per type; return starts and finishes by task.

    First come, first served in the order of readiness; the head of the queue holds back the
    rest; a task goes to the first node with room.
    """
    w = workload.arrays
    n = workload.tasks
    free = [[float(c), float(m)] for c, m in zip(w.node_cpus, w.node_memory, strict=True)]
    children = [[int(c) for c in w.children[w.child_ptr[i] : w.child_ptr[i + 1]]] for i in range(n)]
    missing = [int(p) for p in w.parents]
    queue, started, finished, node = [], {}, {}, {}
    order = itertools.count()
    # (time, 0 for arrivals, order, what, subject)
    events = [(float(a), 0, next(order), "arrive", j) for j, a in enumerate(w.arrival)]
    heapq.heapify(events)
    while events:
        now, _, _, what, subject = heapq.heappop(events)
        if what == "arrive":
            tasks = range(int(w.job_ptr[subject]), int(w.job_ptr[subject + 1]))
            queue += [i for i in tasks if missing[i] == 0]
        elif what == "finish":
            p = profile_of_type[int(w.type_of[subject])]
            free[node[subject]][0] += float(w.cpus[p])
            free[node[subject]][1] += float(w.memory[p])
            for child in children[subject]:
                missing[child] -= 1
                if missing[child] == 0:
                    queue.append(child)
        while queue:
            task = queue[0]
            p = profile_of_type[int(w.type_of[task])]
            cpus, memory = float(w.cpus[p]), float(w.memory[p])
            room = [m for m, (c, b) in enumerate(free) if c >= cpus - 1e-9 and b >= memory - 0.5]
            if not room:
                break
            queue.pop(0)
            node[task] = room[0]
            free[room[0]][0] -= cpus
            free[room[0]][1] -= memory
            started[task] = now + start_delay[task]
            finished[task] = started[task] + durations[task][p]
            next(order)  # the event of having seen the start
            seen = finished[task] + seen_delay[task]
            heapq.heappush(events, (seen, 1, next(order), "finish", task))
    return started, finished
