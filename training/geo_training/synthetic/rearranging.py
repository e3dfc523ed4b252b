"""The same things in another room: all of them rearranged, or a handful moved a little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from geo_training.synthetic.room import Piece, Room
from geo_training.synthetic.surfaces import Place, Texture

SHELL = ("floor", "ceiling", "wall")
STEP_M = (0.3, 1.0)  # how far a thing is moved
ROUGH_M = 0.012  # two pieces may come into each other by so much: a table stands on a rug, a picture touches its wall
_TRIES = 200


def rearranged(room: Room) -> Room:
    """Another room of the same furniture: every piece stands where its mirror image would be (x to -x), itself not
    mirrored, so that nothing collides. Floor, walls and ceiling have their finish mirrored, so that no patch of them is
    where it was."""
    other = _placed(room, {piece: _mirrored(piece.place) for piece in room.pieces})
    shell = {number for number, name in enumerate(room.instances) if name in SHELL}
    flipped: dict[Texture, Texture] = {}
    for quad in other.quads:
        if quad.instance in shell and quad.texture not in flipped:
            flipped[quad.texture] = Texture.of(quad.texture.levels[0][:, ::-1])
    return replace(
        other, quads=tuple(replace(quad, texture=flipped.get(quad.texture, quad.texture)) for quad in other.quads)
    )


def moved_a_little(room: Room, seed: int) -> Room:
    """The room after a few days: chair, rug with the table on it, parcels and floor lamp stand 0.3 to 1 m
    elsewhere, where there is space; two pictures hang in each other's place; a plant is gone. All else stands."""
    rng, gone = np.random.default_rng([seed, 23]), []
    plants = [piece for piece in room.pieces if piece.name == "plant"]
    if plants:
        gone = [plants[int(rng.integers(len(plants)))]]
    places: dict[Piece, Place] = {}
    for names in (("rug", "coffee_table"), ("chair",), ("parcels",), ("floor_lamp",)):
        group = [piece for piece in room.pieces if piece.name in names]
        if group:
            places |= _shifted(room, group, places, gone, rng)
    places |= _exchanged(room, [piece for piece in room.pieces if piece.name == "picture"], rng)
    return _placed(room, places, gone)


def third_moved(room: Room, seed: int) -> Room:
    """The room after some months: a third of its pictures and of its furniture is elsewhere or gone. What
    `moved_a_little` moves is moved; the rest of the third are pictures, which hang at other free places of the walls,
    and those for which there is none are taken down. Doors, windows and all else stay."""
    rng, moved = np.random.default_rng([seed, 29]), moved_a_little(room, seed)
    pictures = _pictures(room)
    touched = moved_instances(room, moved)
    still = [piece for piece in pictures if piece.instances.start not in touched]
    count = round(len(pictures) / 3) - (len(pictures) - len(still))
    chosen = [still[int(index)] for index in rng.permutation(len(still))[: max(count, 0)]]
    places, gone = {}, list(chosen)  # all are taken down first, so that there is room
    for piece in chosen:
        place = _hung(moved, piece, places, gone, rng)
        if place is not None:
            places[piece] = place
            gone.remove(piece)
    return _placed(moved, places, gone)


def moved_instances(before: Room, after: Room) -> set[int]:
    """The instances of all pieces that are at another place in `after`, or gone."""
    place_of = {piece.instances: piece.place for piece in after.pieces}
    return {
        number for piece in before.pieces if place_of.get(piece.instances) != piece.place for number in piece.instances
    }


def _pictures(room: Room) -> list[Piece]:
    return [piece for piece in room.pieces if piece.name == "picture"]


def _hung(room: Room, piece: Piece, places: dict[Piece, Place], gone: Sequence[Piece], rng: np.random.Generator):
    """A free place for a picture, a step or more from its own, on the wall of any picture; None where there is none.
    `places` are those of pictures that hang elsewhere already, `gone` those that hang nowhere."""
    boxes = bounds_of(_placed(room, places, [other for other in gone if other not in places]))
    others, pictures = list(boxes.values()), _pictures(room)
    middle_3 = bounds_of(room)[piece.instances].mean(axis=0)
    for _ in range(_TRIES):
        wall = pictures[int(rng.integers(len(pictures)))].place
        along_m, rise_m = rng.uniform(-1.5, 1.5), rng.uniform(-0.3, 0.3)
        place = wall.at(along_m, 0.0, rise_m)
        box_23 = bounds_of(_placed(room, {piece: place}))[piece.instances]
        apart_m = np.linalg.norm(box_23.mean(axis=0) - middle_3)
        if apart_m > STEP_M[0] and box_23[0, 2] > 0.8 and _fits(room, box_23, others):
            return place
    return None


def _mirrored(place: Place) -> Place:
    return Place(-place.x_m, place.y_m, place.z_m, -place.yaw_rad)


def _placed(room: Room, places: dict[Piece, Place], gone: Sequence[Piece] = ()) -> Room:
    """The room with pieces at other places, and without those that are gone."""
    motion_of, lost = {}, {number for piece in gone for number in piece.instances}
    footprints, windows, lamps = list(room.footprints), list(room.windows), list(room.floor_lamps)
    for piece, place in places.items():
        motion_of.update(dict.fromkeys(piece.instances, (piece.place, place)))
        for index in piece.footprints:
            corners_42, height_m = footprints[index]
            corners = [_carried(np.append(corner, 0.0), piece.place, place)[:2] for corner in corners_42]
            footprints[index] = np.array(corners), height_m
        for index in piece.windows:
            centre_3, half_width_3, half_height_3, normal_3 = windows[index]
            turn = Place(yaw_rad=place.yaw_rad - piece.place.yaw_rad).turn
            windows[index] = (
                _carried(centre_3, piece.place, place), turn(half_width_3), turn(half_height_3), turn(normal_3)
            )  # fmt: skip
        for index in piece.floor_lamps:
            lamps[index] = _carried(lamps[index], piece.place, place)
    quads = []
    for quad in room.quads:
        if quad.instance in motion_of:
            old, new = motion_of[quad.instance]
            turn = Place(yaw_rad=new.yaw_rad - old.yaw_rad).turn
            corner_3 = _carried(quad.corner_3, old, new)
            quad = replace(quad, corner_3=corner_3, right_3=turn(quad.right_3), down_3=turn(quad.down_3))
        if quad.instance not in lost:
            quads.append(quad)
    for piece in gone:
        for index in piece.footprints:
            footprints[index] = np.zeros((0, 2)), 0.0
    pieces = tuple(replace(piece, place=places.get(piece, piece.place)) for piece in room.pieces if piece not in gone)
    return replace(
        room, quads=tuple(quads), footprints=tuple(footprints), windows=tuple(windows), floor_lamps=tuple(lamps),
        pieces=pieces,
    )  # fmt: skip


def _carried(point_3: np.ndarray, old: Place, new: Place) -> np.ndarray:
    """Where a point of what stands at `old` is when that stands at `new`."""
    back = Place(yaw_rad=-old.yaw_rad).turn(np.asarray(point_3) - [old.x_m, old.y_m, old.z_m])
    return new.world(back)


def _shifted(room: Room, group, places: dict[Piece, Place], gone, rng: np.random.Generator) -> dict[Piece, Place]:
    """Places of pieces that are moved together to where nothing stands; none where there is no such place."""
    boxes = bounds_of(_placed(room, places, gone))
    others = [boxes[piece.instances] for piece in room.pieces if piece not in (*group, *gone)]
    for _ in range(_TRIES):
        heading, step_m, turn_rad = rng.uniform(-np.pi, np.pi), rng.uniform(*STEP_M), rng.normal(0, 0.25)
        along = np.array([np.cos(heading), np.sin(heading)]) * step_m
        moved = {piece: _stepped(piece.place, along, turn_rad if len(group) == 1 else 0.0) for piece in group}
        after = bounds_of(_placed(room, moved))
        if all(_fits(room, after[piece.instances], others) for piece in group):
            return moved
    return {}


def _stepped(place: Place, along_2: np.ndarray, turn_rad: float) -> Place:
    return replace(place, x_m=place.x_m + along_2[0], y_m=place.y_m + along_2[1], yaw_rad=place.yaw_rad + turn_rad)


def _exchanged(room: Room, pictures: list[Piece], rng: np.random.Generator) -> dict[Piece, Place]:
    """The places of two pictures that hang in each other's place, middle on middle; none where no two fit."""
    boxes = bounds_of(room)
    for first, second in rng.permutation([(i, j) for i in range(len(pictures)) for j in range(i)]).tolist():
        pair = pictures[first], pictures[second]
        rise_m = np.subtract(*(boxes[piece.instances].mean(axis=0)[2] - piece.place.z_m for piece in pair))
        moved = {
            pair[0]: replace(pair[1].place, z_m=pair[1].place.z_m - rise_m),
            pair[1]: replace(pair[0].place, z_m=pair[0].place.z_m + rise_m),
        }
        apart_m = np.linalg.norm(boxes[pair[0].instances].mean(axis=0) - boxes[pair[1].instances].mean(axis=0))
        after = bounds_of(_placed(room, moved))
        others = [boxes[piece.instances] for piece in room.pieces if piece not in pair]
        if apart_m > STEP_M[0] and all(_fits(room, after[piece.instances], others) for piece in pair):
            return moved
    return {}


def bounds_of(room: Room) -> dict[range, np.ndarray]:
    """Lowest and highest x, y, z (2, 3) of each piece of the room, by its instances."""
    corners_q43 = np.array([quad.corners_43 for quad in room.quads])
    instance_q = np.array([quad.instance for quad in room.quads])
    bounds = {}
    for piece in room.pieces:
        own_n3 = corners_q43[(instance_q >= piece.instances.start) & (instance_q < piece.instances.stop)].reshape(-1, 3)
        bounds[piece.instances] = np.stack([own_n3.min(axis=0), own_n3.max(axis=0)])
    return bounds


def overlap(first_23: np.ndarray, second_23: np.ndarray) -> bool:
    """Whether two pieces with these bounds come into each other by more than `ROUGH_M`."""
    shared_3 = np.minimum(first_23[1], second_23[1]) - np.maximum(first_23[0], second_23[0])
    return bool((shared_3 > ROUGH_M).all())


def _fits(room: Room, box_23: np.ndarray, others: list[np.ndarray]) -> bool:
    half_3 = np.array([room.size_m[0] / 2, room.size_m[1] / 2, room.size_m[2]]) + ROUGH_M
    inside = (box_23[0] >= -half_3).all() and (box_23[1] <= half_3).all()
    return bool(inside) and not any(overlap(box_23, other) for other in others)
