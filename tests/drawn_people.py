"""A small folder of evaluation data, drawn: people are red squares (see `toys`)."""

import csv

from toys import picture

PEOPLE = 9
ENROLLED = 6
SHOTS = 3


def write(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def draw(folder, people=PEOPLE, shots=SHOTS, faceless=()):
    """Pictures of `people`, `shots` each; those named in `faceless` show nobody.

    The first six are enrolled with their first picture and searched with the others.
    """
    rows, names = [], {}
    for person in range(people):
        for shot in range(shots):
            name = f"toys/person{person:02}/{shot}.png"
            shown = () if name in faceless else (10 + 5 * person,)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            side = 60 + 30 * shot
            (folder / name).write_bytes(picture(*shown, side=side, quality=200 + shot))
            names[person, shot] = name
            sex = "female" if person % 2 else "male"
            rows.append([name, "toys", f"person{person:02}", 400, 300, sex, "drawn"])
    columns = ["path", "set", "identity", "width", "height", "sex", "ethnicity"]
    write(folder / "manifest.csv", columns, rows)

    pairs = [[names[p, 0], names[p, 1], 1] for p in range(people)]
    pairs += [[names[p, 0], names[(p + 1) % people, 0], 0] for p in range(people)]
    write(folder / "pairs" / "toys.csv", ["a", "b", "same"], pairs)

    enrolled = range(ENROLLED)
    for name, chosen in (
        ("gallery", [(p, 0) for p in enrolled]),
        ("probes_mated", [(p, s) for p in enrolled for s in range(1, shots)]),
        ("probes_nonmated", [(p, 0) for p in range(ENROLLED, people)]),
    ):
        path = folder / "ident" / "toys" / f"{name}.csv"
        write(path, ["path", "identity"], [[names[p, s], f"person{p:02}"] for p, s in chosen])

    (folder / "detect" / "noface").mkdir(parents=True, exist_ok=True)
    (folder / "detect" / "noface" / "field.png").write_bytes(picture())
    variants = folder / "bad" / "face-variants"
    variants.mkdir(parents=True, exist_ok=True)
    for name, people_shown in (("plain", (10,)), ("again", (10,)), ("two", (15, 10))):
        (variants / f"{name}.png").write_bytes(picture(*people_shown, side=80))
    write(
        variants / "expected.csv",
        ["file", "faces", "note"],
        [
            ["plain.png", 1, ""],
            ["again.png", 1, "upright after EXIF orientation"],
            ["two.png", 2, "hard"],
        ],
    )
    return folder
