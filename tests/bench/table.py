"""Reads what `run.sh --parts pull` printed and says what is not as it should be.

usage: table.py RUNTIME[,RUNTIME]  < OUTPUT
"""
import re
import shutil
import sys

ROWS = ["PullImage (s)", "syncfs afterwards (s)", "PullImage and syncfs (s)", "CPU of daemon and children (core-seconds)",
        "CPU of the registry (core-seconds)", "CPU of all others meanwhile (cores)",
        "peak RSS, daemon and children together (MiB)", "disk (MB)", "PullImage of what is there (ms)", "RemoveImage (s)",
        "RemoveImage until the files are gone (s)"]
# What costs too little for the clock may be nought.
POSITIVE = {ROWS[0], ROWS[2], ROWS[3], ROWS[6], ROWS[7], ROWS[8]}


def tables(text):
    """Yields each table's title and its rows: name to cells."""
    for title, body in re.findall(r"^\*\*(Pull of .*)\*\*\n\n((?:\|.*\n)+)", text, re.M):
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()]
        yield title, {cells[0]: cells[1:] for cells in lines[2:]}


def faults(title, rows, runtimes):
    wanted = 2 * runtimes + (runtimes > 1)
    for name in ROWS:
        cells = rows.get(name, [])
        values = [float(cell) for cell in cells[:2 * runtimes] if re.fullmatch(r"\d+(\.\d+)?", cell)]
        if len(cells) != wanted or len(values) != 2 * runtimes:
            yield f"{title}: {name}: {cells} is not {wanted} figures"
        elif name in POSITIVE and min(values) <= 0:
            yield f"{title}: {name}: {cells} has a nought"
    tar = float(re.search(r"([\d.]+) MB of tar", title).group(1))
    for cell in rows.get("disk (MB)", [])[:2 * runtimes]:
        if not 0.5 * tar < float(cell) < 3 * tar:
            yield f"{title}: {cell} MB on disk"


def main():
    text, runtimes = sys.stdin.read(), len(sys.argv[1].split(","))
    formats = ["gzip"] + (["zstd"] if shutil.which("zstd") else [])
    found = list(tables(text))
    problems = [fault for title, rows in found for fault in faults(title, rows, runtimes)]
    if [re.search(r"in (\w+):", title).group(1) for title, _ in found] != formats:
        problems.append(f"tables {[title for title, _ in found]}, wanted one for each of {formats}")
    print("\n".join(problems))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
