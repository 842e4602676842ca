"""Gives registers of a PTX kernel new numbers: those whose values are never needed at the same time share one.

A compiler writes every value into a register of its own, and a text with thousands of names compresses badly. The
assembler finds its own registers whatever the names, so nothing but the text changes: it takes little more than half of
the room once it is compressed.
"""

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

KIND = r"%(?:p|rs|r|rd|f|fd)"
REGISTER = re.compile(KIND + r"\d+\b")
LABEL = re.compile(r"(\$L__BB\d+_\d+):")

# Instructions that do nothing but write their first operand, all of it. Of any other, every register counts as one that
# was needed before: that is never wrong, and only keeps a number from being shared.
WRITES_FIRST = frozenset(
    "mov add sub mul mad fma div min max neg abs and or xor not shl shr shf prmt bfi brev bfind clz cvt cvta"
    " setp selp ld shfl redux vote mapa rcp sqrt ex2".split()
)
ENDS = frozenset(["ret", "exit"])


class UnknownFlow(Exception):
    """A statement that may go on somewhere else, in a way that is not known here."""


class Conflict(Exception):
    """Two registers with one number, whose values are both needed."""


@dataclass
class Block:
    """Statements that run one after the other. Sets of registers are the bits of integers."""

    first: int
    last: int
    needed: int = 0  # before any is written
    written: int = 0
    next: list[int] = field(default_factory=list)
    live_in: int = 0
    live_out: int = 0


def with_shared_registers(kernel: str) -> str:
    """The kernel with new numbers, from 1 on for each kind of register."""
    head, brace, body = kernel.partition("\n{")
    if not brace:
        return kernel
    statements = list(split(body))
    names = list(dict.fromkeys(REGISTER.findall(body)))
    bit = {name: 1 << index for index, name in enumerate(names)}
    blocks = blocks_of(statements, bit)
    solve(blocks)
    begins, ends = extents(statements, blocks, bit, names)
    numbers = allocate(names, begins, ends)
    check(statements, blocks, numbers, names)
    body = REGISTER.sub(lambda match: numbers[match[0]], body)
    return head + brace + declare(body, numbers)


def split(body: str) -> Iterator[str]:
    """The statements of a body, labels on their own. A statement of an inline text stands behind a brace."""
    for text in re.split(r"[;\n]", body):
        text = text.strip().strip("{}").strip()
        while match := LABEL.match(text):
            yield match[0]
            text = text[match.end() :].strip()
        if text and not text.startswith("."):
            yield text


def parts(statement: str) -> tuple[str, bool, str]:
    """The opcode, whether a predicate guards it, and the operands."""
    guarded = statement.startswith("@")
    if guarded:
        statement = statement.split(" ", 1)[1]
    opcode, _, operands = statement.partition(" ")
    return opcode.split(".")[0], guarded, operands


def first_operand(operands: str) -> str:
    """Up to the first comma that is not between brackets."""
    depth = 0
    for index, letter in enumerate(operands):
        depth += (letter in "{[") - (letter in "}]")
        if letter == "," and depth == 0:
            return operands[:index]
    return operands


def effects(statement: str) -> tuple[list[str], list[str]]:
    """The registers that a statement needs, and those that it writes whatever happens."""
    opcode, guarded, operands = parts(statement)
    if guarded or opcode not in WRITES_FIRST:
        return REGISTER.findall(statement), []
    target = first_operand(operands)
    return REGISTER.findall(operands[len(target) :]), REGISTER.findall(target)


def blocks_of(statements: list[str], bit: dict[str, int]) -> list[Block]:
    starts = {0}
    for index, statement in enumerate(statements):
        if LABEL.match(statement):
            starts.add(index)
        elif parts(statement)[0] in ENDS | {"bra"}:
            starts.add(index + 1)
        elif parts(statement)[0] in ("brx", "call"):
            raise UnknownFlow(statement)
    ordered = sorted(start for start in starts if start < len(statements))
    blocks = [Block(first, last - 1) for first, last in zip(ordered, [*ordered[1:], len(statements)])]
    of_label = {
        statements[block.first].rstrip(":"): number
        for number, block in enumerate(blocks)
        if LABEL.match(statements[block.first])
    }
    for number, block in enumerate(blocks):
        for statement in statements[block.first : block.last + 1]:
            needed, written = effects(statement)
            for name in needed:
                block.needed |= bit[name] & ~block.written
            for name in written:
                block.written |= bit[name]
        opcode, guarded, operands = parts(statements[block.last])
        if opcode == "bra":
            block.next.append(of_label[operands])
        if guarded or opcode not in ENDS | {"bra"}:
            block.next += [number + 1] if number + 1 < len(blocks) else []
    return blocks


def solve(blocks: list[Block]) -> None:
    """What is live at the ends of each block: what is needed later on some way, before it is written."""
    changed = True
    while changed:
        changed = False
        for block in reversed(blocks):
            out = 0
            for number in block.next:
                out |= blocks[number].live_in
            live_in = block.needed | (out & ~block.written)
            changed |= (out, live_in) != (block.live_out, block.live_in)
            block.live_out, block.live_in = out, live_in


def extents(
    statements: list[str], blocks: list[Block], bit: dict[str, int], names: list[str]
) -> tuple[dict[str, int], dict[str, int]]:
    """The first and the last statement of the text between which each register may be live."""
    begins: dict[str, int] = {}
    ends: dict[str, int] = {}

    def extend(name: str, index: int) -> None:
        begins[name] = min(begins.get(name, index), index)
        ends[name] = max(ends.get(name, index), index)

    for index, statement in enumerate(statements):
        for name in REGISTER.findall(statement):
            extend(name, index)
    for block in blocks:
        for live, index in ((block.live_in, block.first), (block.live_out, block.last)):
            for name in members(live, names):
                extend(name, index)
    return begins, ends


def members(registers: int, names: list[str]) -> Iterator[str]:
    """The names of a set."""
    while registers:
        lowest = registers & -registers
        yield names[lowest.bit_length() - 1]
        registers ^= lowest


def kind_of(name: str) -> str:
    return name.rstrip("0123456789")


def allocate(names: list[str], begins: dict[str, int], ends: dict[str, int]) -> dict[str, str]:
    """The lowest number of its kind that no register has whose extent overlaps."""
    numbers: dict[str, str] = {}
    free: dict[str, list[int]] = {}
    counts: dict[str, int] = {}
    taken: list[tuple[int, str, int]] = []
    for name in sorted(names, key=lambda name: begins[name]):
        while taken and taken[0][0] < begins[name]:
            _, kind, number = heapq.heappop(taken)
            heapq.heappush(free[kind], number)
        kind = kind_of(name)
        if free.setdefault(kind, []):
            number = heapq.heappop(free[kind])
        else:
            number = counts[kind] = counts.get(kind, 0) + 1
        numbers[name] = f"{kind}{number}"
        heapq.heappush(taken, (ends[name], kind, number))
    return numbers


def check(statements: list[str], blocks: list[Block], numbers: dict[str, str], names: list[str]) -> None:
    """Walks every block backwards with what is live, and looks that no number stands for two of them."""
    for block in blocks:
        holders: dict[str, str] = {}

        def hold(name: str) -> None:
            if holders.setdefault(numbers[name], name) != name:
                raise Conflict(f"{holders[numbers[name]]} and {name} are both {numbers[name]}")

        for name in members(block.live_out, names):
            hold(name)
        for statement in reversed(statements[block.first : block.last + 1]):
            needed, written = effects(statement)
            for name in written:
                hold(name)
            for name in written:
                del holders[numbers[name]]
            for name in needed:
                hold(name)


def declare(body: str, numbers: dict[str, str]) -> str:
    """The declarations `.reg .b32 %r<n>;` with as many as there are now: n is one more than the largest number."""
    largest: dict[str, int] = {}
    for name in numbers.values():
        kind = kind_of(name)
        largest[kind] = max(largest.get(kind, 0), int(name[len(kind) :]))
    return re.sub(f"({KIND})<\\d+>", lambda match: f"{match[1]}<{largest.get(match[1], 0) + 1}>", body)
