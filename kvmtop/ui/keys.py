"""The keys of the dashboard, in the order of the help and the manual."""

from __future__ import annotations

from typing import Any

from textual.binding import Binding


def key(keys: str, action: str, name: str, tooltip: str, **options: Any) -> Binding:
    """One that the line at the foot does not show."""
    return Binding(keys, action, name, show=False, tooltip=tooltip, **options)


def shown(keys: str, action: str, name: str, tooltip: str, **options: Any) -> Binding:
    """One that it shows."""
    return Binding(keys, action, name, tooltip=tooltip, **options)


QUIT = shown("q,ctrl+c", "quit", "Quit", "End, and print the summary", key_display="q", priority=True)
HELP = shown("question_mark,f1,h", "help", "Help", "Keys, columns and words", key_display="?")
PAUSE = shown("space", "pause", "Pause", "Hold the display still; counting goes on")
SLOWER = key("plus,equals_sign", "interval(1)", "Slower", "Longer interval", key_display="+")
FASTER = key("minus", "interval(-1)", "Faster", "Shorter interval")
SLOWEST = shown("x", "slow", "Slow", "The slowest exits, one by one")
SCHEDULER = shown("S", "scheduler", "Scheduler", "Who has the CPU instead of vCPUs, who wakes them or holds them up")
MEMORY = key("m", "memory", "Memory", "On the Scheduler page: on which NUMA nodes memory is (slow to read)")

DASHBOARD = (
    QUIT,
    HELP,
    PAUSE,
    shown("escape,backspace", "up", "Back", "Up: from reason to vCPU to VM to all; or clear the filter"),
    shown("slash", "filter", "Filter", "Show names that match a text or pattern", key_display="/", priority=True),
    shown("less_than_sign,comma", "step_sort(-1)", "Sort", "Sort by the column on the left", key_display="<"),
    key("greater_than_sign,full_stop", "step_sort(1)", "Sort", "Sort by the column on the right", key_display=">"),
    key("r", "reverse", "Reverse", "Reverse the order"),
    shown("t", "totals", "Totals", "Figures since the start instead of the last interval"),
    key("i", "idle", "Idle", "Leave idle time out of time shares, or count it"),
    SLOWER,
    FASTER,
    key("z", "reset", "Reset", "Count totals and trends from now on"),
    key("c", "clear", "Clear ended", "Take VMs that have ended off the list"),
    key("tab", "pane(1)", "Pane", "Next pane: reasons, VMs, chart", priority=True),
    key("shift+tab", "pane(-1)", "Pane", "Previous pane", priority=True),
    key("1", "show_pane('reasons')", "Reasons", "The reasons"),
    key("2", "show_pane('vms')", "VMs", "The VMs and their vCPUs"),
    key("3", "show_pane('chart')", "Chart", "The chart"),
    SLOWEST,
    SCHEDULER,
    MEMORY,
    key("f", "findings", "Findings", "Show or hide what stands out"),
    key("w", "summary", "Summary", "Write the summary so far to a file"),
    key("s", "save_picture", "Screenshot", "Save this screen as an SVG file"),
    key("E", "sort('rate')", "By exits", "Sort by exits a second"),
    key("T", "sort('time')", "By time", "Sort by time"),
    key("A", "sort('avg')", "By average", "Sort by average duration"),
    key("P", "sort('p99')", "By p99", "Sort by p99"),
    key("M", "sort('max')", "By maximum", "Sort by the longest exit"),
    key("N", "sort('reason')", "By name", "Sort by name"),
    key("ctrl+z", "suspend_process", "Suspend", "Back to the shell; fg returns"),
)

NOT_IN_RECORDINGS = (PAUSE, SLOWER, FASTER, SLOWEST, MEMORY)  # another meaning there, or none
PLAYER = (
    shown("space", "pause", "Play", "Play, or pause; at the end, once more from the beginning"),
    shown("right", "step(1)", "Step", "The next interval, and pause", key_display="←→", priority=True),
    key("left", "step(-1)", "Step", "The interval before, and pause", priority=True),
    shown(
        "shift+right,right_curly_bracket",
        "seek(1)",
        "Seek",
        "A twentieth of the recording on; a click on its line goes anywhere",
        key_display="{ }",
        priority=True,
    ),
    key("shift+left,left_curly_bracket", "seek(-1)", "Seek", "A twentieth of the recording back", priority=True),
    key("0", "go_to(0.0)", "Start", "The beginning of the recording"),
    key("dollar_sign", "go_to(1.0)", "End", "The end of the recording"),
    shown("right_square_bracket", "speed(1)", "Speed", "Play faster", key_display="[ ]"),
    key("left_square_bracket", "speed(-1)", "Speed", "Play slower"),
    *(binding for binding in DASHBOARD if binding not in NOT_IN_RECORDINGS),
)
