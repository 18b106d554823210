"""Video: the pipeline of paper B on frames, stage by stage, as it runs inside Spark's workers.

Several sources → resize, dropping frames that show nothing new → routing by brightness →
greyscale (OpenCV) → store. The frames are synthetic and follow from the seed, so that a recording
can be repeated; what each stage does to them is real work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

SOURCES = ("day", "night", "still")
"""Kinds of cameras: a bright moving picture, a dark one with noise, one where hardly anything
moves. A partition holds the frames of one camera."""

BRIGHT, DARK = "bright", "dark"
"""Routes: as it is, or lifted first."""

DARK_BELOW = 64.0
"""Mean of all pixels below which a frame is dark, of 255."""

GAIN = 2
"""By which dark frames are lifted."""

NEWS = 2.0
"""Mean difference to the last frame that was kept, of 255, below which a frame is dropped."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame on its way.

    Args:
        partition: Where it came from.
        number: Of the frame within its source.
        route: How it goes on; "" before it was routed.
        image: Shape [height, width, 3] (blue, green, red), or [height, width] once grey.
    """

    partition: int
    number: int
    route: str
    image: Image


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the pipeline needs to know of a batch.

    Args:
        frames: Per partition.
        seed: Of the pictures.
        width: Of a frame as the camera gives it, pixels.
        height: Likewise.
        folder: Where frames are stored.
    """

    frames: int
    seed: int
    width: int
    height: int
    folder: str


Stage = Callable[[list[Frame], int, Settings], list[Frame]]


def film(partition: int, settings: Settings) -> list[Frame]:
    """Return what the camera of a partition saw."""
    rng = np.random.default_rng([settings.seed, partition])
    kind = SOURCES[partition % len(SOURCES)]
    shape = (settings.height, settings.width, 3)
    ground = rng.integers(0, 256, (max(1, shape[0] // 8), max(1, shape[1] // 8), 3))
    picture = np.kron(ground, np.ones((8, 8, 1))).astype(np.uint8)[: shape[0], : shape[1]]
    picture = np.pad(
        picture, [(0, s - h) for s, h in zip(shape, picture.shape, strict=True)], mode="edge"
    )
    frames = []
    for number in range(settings.frames):
        if kind == "day":
            image = np.roll(picture, 8 * number, axis=1)
        elif kind == "night":
            # Twelve random pictures are noise enough, at a fraction of the price.
            image = np.roll(picture // 8, 4 * number, axis=0)
        else:
            # Every fourth frame shows something else.
            image = np.roll(picture, 8 * (number // 4), axis=0)
        frames.append(Frame(partition=partition, number=number, route="", image=image))
    return frames


def resize(frames: list[Frame], partition: int, settings: Settings) -> list[Frame]:
    """Halve the frames of a camera and drop those that show nothing new."""
    import cv2

    kept: list[Frame] = []
    for f in frames:
        half = (max(1, f.image.shape[1] // 2), max(1, f.image.shape[0] // 2))
        image = np.asarray(cv2.resize(f.image, half, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        if kept and float(cv2.absdiff(image, kept[-1].image).mean()) < NEWS:
            continue
        kept.append(Frame(partition=f.partition, number=f.number, route="", image=image))
    return kept


def route(frames: list[Frame], partition: int, settings: Settings) -> list[Frame]:
    """Send each frame the bright or the dark way."""
    return [
        Frame(
            partition=f.partition,
            number=f.number,
            route=DARK if float(f.image.mean()) < DARK_BELOW else BRIGHT,
            image=f.image,
        )
        for f in frames
    ]


def greyscale(frames: list[Frame], partition: int, settings: Settings) -> list[Frame]:
    """Turn frames grey; dark ones are lifted first."""
    import cv2

    done = []
    for f in frames:
        image = cv2.convertScaleAbs(f.image, alpha=GAIN) if f.route == DARK else f.image
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
        done.append(Frame(partition=f.partition, number=f.number, route=f.route, image=grey))
    return done


def store(frames: list[Frame], partition: int, settings: Settings) -> list[Frame]:
    """Write frames as PNG; returns them without their pictures."""
    import cv2

    place = Path(settings.folder)
    place.mkdir(parents=True, exist_ok=True)
    done = []
    for f in frames:
        _, data = cv2.imencode(".png", f.image)
        (place / f"{f.partition:03d}-{f.number:05d}.png").write_bytes(data.tobytes())
        done.append(
            Frame(
                partition=f.partition,
                number=f.number,
                route=f.route,
                image=np.zeros(0, dtype=np.uint8),
            )
        )
    return done


STAGES: dict[str, Stage] = {
    "resize": resize,
    "route": route,
    "greyscale": greyscale,
    "store": store,
}
"""By name, in the order of the pipeline; a scenario may leave some out."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a task of the pipeline took, measured where it ran.

    Args:
        stage: Index of its stage.
        partition: Index of the task in its stage.
        cpu_seconds: Of the Python process; Spark counts those of its own process only.
        frames_in: Frames it was given.
        frames_out: Frames it passed on.
    """

    stage: int
    partition: int
    cpu_seconds: float
    frames_in: int
    frames_out: int


Note = Callable[[list[Probe]], None]


class Appended:
    """How Spark's accumulator joins the lists of what tasks took."""

    def zero(self, value: list[Probe]) -> list[Probe]:
        """Return what nothing is added to."""
        return []

    def addInPlace(self, one: list[Probe], other: list[Probe]) -> list[Probe]:  # noqa: N802
        """Return both; the name is Spark's."""
        one.extend(other)
        return one


def task(
    partition: int,
    given: Iterator[Any],
    *,
    stage: int,
    name: str,
    settings: Settings,
    note: Note,
) -> Iterator[tuple[int, Frame]]:
    """Run one task; yields frames under the partition that they go to next.

    Args:
        partition: Index of the task.
        given: Frames under their partition; the first stage films its own instead.
        stage: Index of the stage.
        name: Of the stage.
        settings: Of the batch.
        note: Takes what it took.
    """
    begun = time.process_time()
    # An iterator that is not read to its end costs the whole worker process.
    received = [frame for _, frame in given] if stage else list(given)
    frames: list[Frame] = received if stage else film(partition, settings)
    passed = STAGES[name](frames, partition, settings)
    for frame in passed:
        yield frame.number + frame.partition, frame
    note(
        [
            Probe(
                stage=stage,
                partition=partition,
                cpu_seconds=time.process_time() - begun,
                frames_in=len(frames),
                frames_out=len(passed),
            )
        ]
    )


def run(
    context: Any,
    profile: Any,
    stages: Sequence[str],
    partitions: int,
    settings: Settings,
    note: Note,
) -> dict[str, int]:
    """Run one batch on a Spark: a Spark stage per stage, a task per partition.

    Args:
        context: The ``SparkContext``.
        profile: The ``ResourceProfile`` of the executors that are to run it.
        stages: Names, in the order of the pipeline.
        partitions: Tasks per stage.
        settings: Of the batch.
        note: Takes what each task took, here or there: an accumulator's ``add``.

    Returns:
        Frames that came out, by route.
    """
    data = context.parallelize(list(range(partitions)), partitions)
    for i, name in enumerate(stages):
        if i > 0:
            # Frames of all cameras are mixed, so that dropped ones leave nobody idle.
            data = data.partitionBy(partitions, int)
        work = partial(task, stage=i, name=name, settings=settings, note=note)
        # The profile is set on what a stage starts from: what follows then stays one process.
        data = data.withResources(profile).mapPartitionsWithIndex(work)
    routes: dict[str, int] = {}
    for name in data.map(lambda pair: pair[1].route).collect():
        routes[name] = routes.get(name, 0) + 1
    return routes
