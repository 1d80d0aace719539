"""The conformance table against several servers: `python -m benchmarks.conformance [--all] [--cases]`.

Prints a Markdown table of how many cases each server answers wrongly by the RFC, and how many in a way that is lawful
but that a player or a CDN feels. Ours is run on both of its ways to send bytes.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.rivals import Rival, caddy, express, nginx, stock_aiohttp
from tests.mediaserver.house import film_target, furnish, housed
from tests.mediaserver.rfc9110 import Case, Facts, Finding, Target, run
from tests.mediaserver.rfc9110_cases import cases

Found = dict[str, list[Finding]]


def targets(root: Path, folder: Path, stack: ExitStack, film: bytes) -> Iterator[tuple[str, Target]]:
    for name, fast in (("ours, ordinary path", False), ("ours, fast path", True)):
        yield name, film_target(stack.enter_context(housed(root, fast_path=fast)), film)
    folder.mkdir(mode=0o755)
    rivals: list[Rival] = [
        stack.enter_context(stock_aiohttp(root / "media")),
        stack.enter_context(express(root / "media", folder)),
        stack.enter_context(nginx(root / "media", folder)),
    ]
    if shutil.which("caddy"):
        rivals.append(stack.enter_context(caddy(root / "media")))
    for rival in rivals:
        names = ("/part2/v1/video_1080p_h264.mp4", film, "/part2/v1/audio_en.mp4", "/part2/v1/none.mp4")
        yield rival.name, Target("127.0.0.1", rival.port, *names)


def judge(target: Target, table: list[Case]) -> Found:
    facts = Facts.of(target)
    found = {str(case): run(case, facts) for case in table}
    return {name: findings for name, findings in found.items() if findings}


def rows(results: dict[str, Found], total: int) -> Iterator[str]:
    yield f"| server | wrong, of {total} | lawful but felt |"
    yield "|---|---|---|"
    for name, found in results.items():
        wrong = sum(any(finding.kind == "wrong" for finding in findings) for findings in found.values())
        yield f"| {name} | {wrong} | {len(found) - wrong} |"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--cases", action="store_true", help="also print every finding")
    arguments = words.parse_args()
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        root = Path(temporary)
        root.chmod(0o755)
        film = furnish(root)
        table = cases(len(film))
        results = {name: judge(target, table) for name, target in targets(root, root / "rivals", stack, film)}
    print("\n".join(rows(results, len(table))))
    if arguments.cases:
        for name, found in results.items():
            for case, findings in found.items():
                print(f"{name}: {case}: " + "; ".join(f"{finding.kind}: {finding.what}" for finding in findings))


if __name__ == "__main__":
    main()
