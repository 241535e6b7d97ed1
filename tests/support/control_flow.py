"""What kernels up to 6.1 ask of a BPF program's loops: check_cfg() in kernel/bpf/verifier.c."""

from __future__ import annotations

_JUMP, _JUMP32 = 5, 6  # classes of instructions: include/uapi/linux/bpf_common.h, bpf.h
_ALWAYS, _CALL, _EXIT = 0x00, 0x80, 0x90


def fallen_into(program: bytes) -> list[tuple[int, int]]:
    """Loops whose way back is no jump, as (from, to) by instruction: the kernel refuses them ("back-edge from …")."""
    codes = [program[at : at + 4] for at in range(0, len(program), 8)]

    def ways(at: int) -> list[tuple[int, bool]]:
        """Where it goes on, in the kernel's order, and whether by a jump."""
        kind, to = codes[at][0] & 7, at + 1 + int.from_bytes(codes[at][2:4], "little", signed=True)
        operation = codes[at][0] & 0xF0 if kind in (_JUMP, _JUMP32) else _CALL
        if operation == _EXIT:
            return []
        if operation == _CALL:
            return [(at + 1, False)]
        return [(to, True)] if operation == _ALWAYS else [(at + 1, True), (to, True)]

    found, entered, done = [], {0}, set[int]()
    path = [(0, iter(ways(0)))]
    while path:
        at, left = path[-1]
        for to, jump in left:
            if to in entered and to not in done and not jump:
                found.append((at, to))
            if to not in entered:
                entered.add(to)
                path.append((to, iter(ways(to))))
                break
        else:
            done.add(at)
            path.pop()
    return found
