"""Study YAMLs and overrides that went wrong: mutated texts, each given to `tuner check` as a user would.

A seed is a batch of `NUM_PER_SEED` texts in a process of its own, whose memory and processor time are bounded. What a
text is follows from its seed and its number alone; `python yaml_faults.py SEED FOLDER [NUMBER]` repeats it.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaign import Campaign

ROOT = Path(__file__).parents[2]
NUM_PER_SEED = 100
CPU_SECONDS = 20.0
"""Most that one text may take; a machine is slow, a hang is for ever. What was measured is in README.md."""

MEMORY_BYTES = 1 << 30
"""Most that the batch may map beyond what it had mapped when it began."""

WALL_SECONDS = 900
"""Most that a batch may wait: only what blocks without using the processor is caught by this."""

SCALARS = (
    *("null", "~", "true", "no", "1", "-1", "0", "0.0", "-0.0", "1e-300", "1e300", "1e999", ".nan", ".inf", "-.inf"),
    *(
        "9" * 18,
        "9" * 19,
        "9" * 400,
        "9" * 5000,
        "0x" + "f" * 6000,
        "0o" + "7" * 9000,
        "1_0",
        "010",
        "1:30",
        "2024-01-02",
    ),
    *(
        "1000000000",
        "1000000000000",
        "2147483648",
        "9223372036854775807",
        "18446744073709551616",
        "1e18",
        "1e19",
        "0.5",
    ),
    *(
        '""',
        '" "',
        '"\\0"',
        '"\\x1b[31m"',
        '"\\u202e"',
        '"\\ud800"',
        '"a\\nb"',
        '"\\U0001F600"',
        "é",
        "\ufeff",
        "'",
        '"',
    ),
    *("[]", "{}", "[[]]", "[1, 2]", "{a: 1}", "[null]", "{low: 1}", "&a [*a]", "*nothing", "!!python/object:os.x {}"),
    *(
        "!!int x",
        "!!float 1",
        "!!binary aGk=",
        "!!set {a}",
        "!custom 1",
        "|",
        ">",
        "|\n  x",
        "? x",
        "- x",
        "x: y",
        "@",
        "`",
    ),
    *(
        "%",
        "auto",
        "AUTO",
        "adamw",
        "halton",
        "x" * 300,
        "../../etc/passwd",
        "--help",
        "con",
        "a/b",
        "'; DROP TABLE x; --",
    ),
    *("=1+1", "{{7*7}}", "${HOME}", "%s%n", "[bold]x[/]", "<script>", "python:os:environ", "/dev/zero", "/dev/stdin"),
)
PIECES = (
    *":-[]{},#&*!|>'\"%@`?\t \n",
    "\r",
    "\0",
    "\x1b",
    "\x85",
    "\u2028",
    "\ud7ff",
    "\ufeff",
    "<<: *a",
    "---",
    "...",
    "&a ",
)
Text = list[str]


def originals() -> list[str]:
    """The studies that come with the package, and the one in the README."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "studies").rglob("*.yaml"))]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return texts + [block for block in re.findall(r"```yaml\n(.*?)```", readme, flags=re.DOTALL) if "study:" in block]


# ---------------------------------------------------------------- mutations of a text


def _drop_token(rng: random.Random, text: str) -> str:
    tokens = re.findall(r"\s+|\w+|\W", text)
    del tokens[rng.randrange(len(tokens))]
    return "".join(tokens)


def _repeat_token(rng: random.Random, text: str) -> str:
    tokens = re.findall(r"\s+|\w+|\W", text)
    at = rng.randrange(len(tokens))
    return "".join([*tokens[:at], tokens[at] * rng.choice((2, 3, 50)), *tokens[at + 1 :]])


def _swap_tokens(rng: random.Random, text: str) -> str:
    tokens = re.findall(r"\s+|\w+|\W", text)
    a, b = rng.randrange(len(tokens)), rng.randrange(len(tokens))
    tokens[a], tokens[b] = tokens[b], tokens[a]
    return "".join(tokens)


def _lines(change: Callable[[random.Random, Text, int], None]) -> Callable[[random.Random, str], str]:
    """A mutation of one line that holds something."""

    def mutate(rng: random.Random, text: str) -> str:
        lines = text.split("\n")
        full = [number for number, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
        if full:
            change(rng, lines, rng.choice(full))
        return "\n".join(lines)

    return mutate


def _drop_line(rng: random.Random, lines: Text, at: int) -> None:
    del lines[at]


def _repeat_line(rng: random.Random, lines: Text, at: int) -> None:
    lines.insert(rng.randrange(len(lines)), lines[at])


def _indent_line(rng: random.Random, lines: Text, at: int) -> None:
    by = rng.choice((-2, -1, 1, 2, 5, 300))
    lines[at] = " " * by + lines[at] if by > 0 else lines[at][-by:]


def _misspell_key(rng: random.Random, lines: Text, at: int) -> None:
    keys = list(re.finditer(r"[\w]+(?=:)", lines[at]))
    if keys:
        key = rng.choice(keys)
        at_char = rng.randrange(key.start(), key.end())
        changed = rng.choice(("", "x", "é", lines[at][at_char].upper(), lines[at][at_char] * 2, "."))
        lines[at] = lines[at][:at_char] + changed + lines[at][at_char + 1 :]


def _replace_value(rng: random.Random, lines: Text, at: int) -> None:
    values = list(re.finditer(r"(?<=: )[^,{}\[\]#]+|(?<=\[)[^,\]]+", lines[at]))
    if values:
        value = rng.choice(values)
        lines[at] = lines[at][: value.start()] + rng.choice(SCALARS) + lines[at][value.end() :]


def _insert_piece(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(PIECES) * rng.choice((1, 1, 2, 100)) + text[at:]


def _cut(rng: random.Random, text: str) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _nest(rng: random.Random, text: str) -> str:
    return text + "\nx: " + rng.choice("[{") * rng.choice((5, 19, 25, 5000))


def _bomb(rng: random.Random, text: str) -> str:
    names = "abcdefghij"[: rng.randint(2, 10)]
    fan_out = rng.choice((2, 9, 40))
    lines = [f"x{names[0]}: &{names[0]} [{','.join('1' * fan_out)}]"]
    lines += [f"x{b}: &{b} [{','.join(['*' + a] * fan_out)}]" for a, b in itertools.pairwise(names)]
    return text + "\n" + "\n".join(lines)


def _grow(rng: random.Random, text: str) -> str:
    return text + "\n" + rng.choice(("# ", "x: ", "a: 1\n", "- ", "k: [", "'")) * rng.choice((10, 3000, 400_000))


def _tree(change: Callable[[random.Random, Any, Any], None]) -> Callable[[random.Random, str], str]:
    """A mutation of one value among all, written as YAML again; texts that are no YAML stay as they are."""

    def mutate(rng: random.Random, text: str) -> str:
        import yaml

        from tuner.config.reading import ReadingError, read_yaml

        try:
            data = read_yaml(text).data
        except ReadingError:
            return text
        places = list(_places(data))
        if places:
            change(rng, *rng.choice(places))
        sys.set_int_max_str_digits(0)
        try:
            return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
        finally:
            sys.set_int_max_str_digits(sys.int_info.default_max_str_digits)

    return mutate


def _places(data: Any) -> Any:
    if isinstance(data, dict | list):
        for key, value in list(data.items() if isinstance(data, dict) else enumerate(data)):
            yield data, key
            yield from _places(value)


def _extreme(rng: random.Random, holder: Any, key: Any) -> None:
    powers = (2**31, 2**63, 2**64, 10**9, 10**12, 10**30, 10**400, 10**5000)
    numbers = (0, -1, 1, 2, 3, 1e-300, 1e300, 5e-324, 0.999999999999, *powers, *(-power for power in powers[:5]))
    holder[key] = rng.choice(numbers)


def _other_kind(rng: random.Random, holder: Any, key: Any) -> None:
    value = holder[key]
    holder[key] = rng.choice(
        (None, [], {}, [value], {"low": value}, str(value), True, [value] * 50, {str(value): value})
    )


def _move(rng: random.Random, holder: Any, key: Any) -> None:
    if isinstance(holder, dict):
        holder[rng.choice(("study", "lr", "max_train_steps", "choices", "when", "", "0", str(key).upper()))] = holder[
            key
        ]


def _many(rng: random.Random, holder: Any, key: Any) -> None:
    """Dimensions, choices and items beyond any use."""
    count = rng.choice((3, 60, 2000))
    if isinstance(holder[key], list):
        holder[key] = [f"{number}" if rng.random() < 0.5 else number for number in range(count)]
    elif isinstance(holder[key], dict):
        holder[key] |= {f"n{number}": {"choices": list(range(rng.choice((2, 30))))} for number in range(count)}


MUTATIONS: tuple[Callable[[random.Random, str], str], ...] = (
    *(_drop_token, _repeat_token, _swap_tokens, _insert_piece, _cut, _nest, _bomb, _grow),
    *(_lines(change) for change in (_drop_line, _repeat_line, _indent_line, _misspell_key)),
    *[_lines(_replace_value)] * 4,
    *(_tree(change) for change in (_extreme, _extreme, _extreme, _other_kind, _other_kind, _move, _many)),
)


def _noise(rng: random.Random, data: bytes) -> bytes:
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 40))):
        spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
    return bytes(spoilt)


def mutated(rng: random.Random) -> tuple[bytes, list[str]]:
    """A file's bytes, and overrides."""
    text = rng.choice(originals())
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        text = rng.choice(MUTATIONS)(rng, text) or "x"
    data = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.08:
        data = _noise(rng, data)
    if rng.random() < 0.04:
        data = rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"\xfe\xff")) + data
    if rng.random() < 0.02:
        data = text.encode("utf-16", "surrogatepass")
    return data, [_override(rng) for _ in range(rng.choice((0, 0, 0, 1, 2)))]


def _override(rng: random.Random) -> str:
    from tuner.config.settings import all_settings

    key = ".".join(str(part) for part in rng.choice(all_settings()))
    if rng.random() < 0.3:
        key = rng.choice(
            (key + ".x", key + "." + "0" * 5000, key[1:], "", ".", key + ".", "rounds.0.num_trials", "a=b", "--x")
        )
    scalar = rng.choice([scalar for scalar in SCALARS if "\0" not in scalar])
    return f"{key}{rng.choice(('=', '=', '=', '=', '', '==', ' = '))}{scalar}"


# ---------------------------------------------------------------- one text, one batch


class Hung(BaseException):
    """The processor time of one text is used up."""


def check(path: Path, overrides: list[str]) -> tuple[int, str]:
    """The exit code of `tuner check` and what it says on stderr."""
    from tuner.cli.main import run_command_line

    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = run_command_line(["check", str(path), "--", *overrides])
    return code, said.getvalue()


def complaint(code: int, said: str, *, source: str) -> str | None:
    """How an outcome breaks the promise; None if it keeps it."""
    lines = [line for line in said.splitlines() if not line.startswith("tuner: warning: ")]
    if code == 0:
        return "valid, but something was said" if lines else None
    if code != 2 or "Traceback" in said:
        return f"exit code {code}"
    if not lines:
        return "nothing was said"
    for line in lines:
        if not line.isprintable():
            return "a line that is not printable"
        if not re.match(rf"tuner: (?:{re.escape(source)}(?::\d+)?|command line|study\.yaml): \S", line):
            return "a line that does not say where the mistake is"
        if len(line) > 1500:
            return "a line of more than 1,500 characters"
    return None if len(lines) <= 21 else "more than 21 lines"


def do_one(seed: int, number: int, folder: Path) -> float:
    """Mutate, check, judge; the processor seconds that it took."""
    path = folder / "study.yaml"
    data, overrides = mutated(random.Random(f"{seed}-{number}"))
    path.write_bytes(data)
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        code, said = check(path, overrides)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    broken = complaint(code, said, source=str(path))
    if broken is not None:
        kept = folder / f"broken-{number}.yaml"
        path.rename(kept)
        raise AssertionError(f"seed {seed}, text {number}, {kept}, overrides {overrides!r}: {broken}\n{said[-3000:]}")
    return time.process_time() - began


def batch(seed: int, folder: Path) -> None:
    """All texts of a seed, under the bounds; prints what they took as JSON."""

    def hang(*_: object) -> None:
        raise Hung(f"more than {CPU_SECONDS:g} s of processor time")

    signal.signal(signal.SIGPROF, hang)
    folder.joinpath("warm.yaml").write_text(originals()[0])
    check(folder / "warm.yaml", [])
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES, resource.RLIM_INFINITY))
    seconds = [do_one(seed, number, folder) for number in range(NUM_PER_SEED)]
    print(json.dumps({"max_cpu_seconds": max(seconds), "sum_cpu_seconds": sum(seconds)}))


def run(seed: int, folder: Path) -> None:
    """The batch of a seed in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, str(seed), str(folder)],
        capture_output=True,
        text=True,
        timeout=WALL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]


CAMPAIGNS = (
    Campaign(
        name="mutated-yaml",
        promise=f"{NUM_PER_SEED} mutated studies a seed: each valid, or told in lines that say where; no traceback",
        num_ci=1,
        num_full=100,
        run=run,
    ),
)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if len(sys.argv) > 3:
        print(do_one(int(sys.argv[1]), int(sys.argv[3]), Path(sys.argv[2])))
    else:
        batch(int(sys.argv[1]), Path(sys.argv[2]))
