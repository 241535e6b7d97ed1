"""The keys of the dashboard, by what one wants to do, in the order of the help and the manual."""

from __future__ import annotations

from typing import Any

from textual.binding import Binding


def key(keys: str, action: str, name: str, tooltip: str, **options: Any) -> Binding:
    """One that the line at the foot does not show."""
    return Binding(keys, action, name, show=False, tooltip=tooltip, **options)


def shown(keys: str, action: str, name: str, tooltip: str, **options: Any) -> Binding:
    """One that it shows."""
    return Binding(keys, action, name, tooltip=tooltip, **options)


QUIT = shown("q", "quit", "quit", "End, and print the summary", priority=True)
INTERRUPT = key("ctrl+c", "interrupt", "Interrupt", "The same, also over the help, which q closes", priority=True)
HELP = shown("question_mark,f1,h", "help", "all keys", "Keys, columns and words", key_display="?")
PAUSE = shown("space", "pause", "pause", "Hold the display still; counting goes on")
SLOWER = key("plus,equals_sign", "interval(1)", "Slower", "Longer interval", key_display="+")
FASTER = key("minus", "interval(-1)", "Faster", "Shorter interval")
SLOWEST = shown("x", "slow", "slow exits", "The slowest exits, one by one")
SCHEDULER = key("S", "scheduler", "Scheduler", "Who has the CPU instead of vCPUs, who wakes them or holds them up")
FINDINGS = shown("f", "findings", "findings", "What stands out, one after the other; Enter goes there")
TIMELINE = key("l", "timeline", "Timeline", "Every single exit of a VM's vCPUs, one below the other, on a line of time")
DIAGNOSE = key("D", "diagnose", "Diagnose", "What costs the VM under the cursor time, why, and what to try: 20 s")
EXPLAIN = key("e", "explain", "Explain", "All that is known of the reason under the cursor, or of the finding")
SLOW_TAB = key("4", "show_pane('slow')", "Slow exits", "The slowest exits, as x", priority=True)
MEMORY = key("m", "memory", "Memory", "On the Scheduler page: on which NUMA nodes memory is (slow to read)")

# By what one wants to do.
SEE = (
    shown("tab", "pane(1)", "next pane", "Next pane", priority=True),
    key("shift+tab", "pane(-1)", "Pane", "Previous pane", priority=True),
    key("1", "show_pane('reasons')", "Reasons", "The reasons", priority=True),
    key("2", "show_pane('vms')", "VMs", "The VMs and their vCPUs", priority=True),
    key("3,d", "show_pane('detail')", "Detail", "What the cursor is on, in full", priority=True),
    SLOW_TAB,
    FINDINGS,
    DIAGNOSE,
    EXPLAIN,
    key("v", "this_vm", "This VM", "Nothing but the VM under the cursor, or all again"),
    key("u", "fold", "Fold", "Fold or unfold the VM under the cursor"),
    SLOWEST,
    TIMELINE,
    SCHEDULER,
    key("n", "turn(1)", "Next reason", "On a reason's page: the next one"),
    key("N", "turn(-1)", "Reason before", "On a reason's page: the one before"),
    shown("escape", "undo", "back", "Undo what was done last: a filter, a page, a scope", key_display="esc"),
    key("backspace", "up", "Up", "From a page, a vCPU or a VM to what it is a part of"),
)
ARRANGE = (
    PAUSE,
    shown("slash", "filter", "filter", "Show names that match a text or pattern", key_display="/", priority=True),
    shown("less_than_sign,comma", "step_sort(-1)", "sort", "Sort by the column on the left", key_display="<"),
    key("greater_than_sign,full_stop", "step_sort(1)", "Sort", "Sort by the column on the right", key_display=">"),
    key("r", "reverse", "Reverse", "Reverse the order"),
    key("E", "sort('rate')", "By exits", "Sort by exits a second"),
    key("T", "sort('time')", "By time", "Sort by time"),
    key("A", "sort('avg')", "By average", "Sort by average duration"),
    key("P", "sort('p99')", "By p99", "Sort by p99"),
    key("M", "sort('max')", "By maximum", "Sort by the longest exit"),
    key("N", "sort('reason')", "By name", "Sort by name"),
    shown("o", "columns", "columns", "Choose and order columns, and keep them with sort order, interval and theme"),
    shown("i", "idle", "idle", "Idle reasons among the others, or after them"),
    key("t", "totals", "Totals", "Figures since the start instead of the last interval"),
    SLOWER,
    FASTER,
    key("z", "reset", "Reset", "Count totals and trends from now on"),
    key("c", "clear", "Clear ended", "Take VMs that have ended off the list"),
)
TAKE = (
    shown("m", "mark", "mark", "Mark the VM or vCPU under the cursor: others are compared with it then"),
    key("y", "copy", "Copy", "Copy the selected row or finding, where the terminal lets kvmtop (OSC 52)"),
    key("s", "save_screen", "Save screen", "Write this screen as SVG and as text"),
    key("w", "summary", "Summary", "Write the summary so far to a file"),
)
LEAVE = (HELP, key("ctrl+z", "suspend_process", "Suspend", "Back to the shell; fg returns"), QUIT, INTERRUPT)
DASHBOARD = (*SEE, *ARRANGE, *TAKE, MEMORY, *LEAVE)  # of what is on one key, the first in the line at the foot

NOT_IN_RECORDINGS = (FINDINGS, DIAGNOSE, PAUSE, SLOWER, FASTER, MEMORY)  # another meaning there, or none
PLAY = (
    shown("space", "pause", "play", "Play, or pause; at the end, once more from the beginning"),
    shown("right", "step(1)", "step", "The next interval, and pause", key_display="←→", priority=True),
    key("left", "step(-1)", "Step", "The interval before, and pause", priority=True),
    shown(
        "shift+right,right_curly_bracket",
        "seek(1)",
        "seek",
        "A twentieth of the recording on; a click on its line goes anywhere",
        key_display="{ }",
        priority=True,
    ),
    key("shift+left,left_curly_bracket", "seek(-1)", "Seek", "A twentieth of the recording back", priority=True),
    shown("at", "moment", "go to", "Go to a moment: 03:12, yesterday 03:12, -10m …", key_display="@", priority=True),
    shown("f", "find(1)", "finding", "On to where the next finding begins", key_display="f F"),
    key("F", "find(-1)", "Finding before", "Back to where the last finding began"),
    key("exclamation_mark", "findings", "Findings", "What stands out here, one after the other; Enter goes there"),
    key("0", "go_to(0.0)", "Start", "The beginning of the recording"),
    key("dollar_sign", "go_to(1.0)", "End", "The end of the recording"),
    shown("right_square_bracket", "speed(1)", "speed", "Play faster", key_display="[ ]"),
    key("left_square_bracket", "speed(-1)", "Speed", "Play slower"),
)
PLAYER = (*PLAY, *(binding for binding in DASHBOARD if binding not in NOT_IN_RECORDINGS))

GROUPS = {"To play": PLAY, "To see": (*SEE, MEMORY), "To arrange": ARRANGE, "To take along": TAKE, "To leave": LEAVE}
