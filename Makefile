# For a checkout on Debian 12, 13 or Ubuntu 24.04. bcc comes from the distribution, so its own Python is used
# whatever `python3` on PATH is.
PYTHON := /usr/bin/python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
APT := DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends

RUN_PACKAGES := python3-bpfcc python3-venv
TEST_PACKAGES := tmux procps strace libcairo2 fonts-dejavu-core man-db
# The emulated hosts, and what is compared with kvmtop in them (linux-perf is Debian's name).
HOST_PACKAGES := qemu-system-x86 qemu-system-common busybox-static kmod xz-utils \
	bochs bochs-term bochsbios vgabios grub-pc-bin grub-common xorriso mtools squashfs-tools linux-perf bpftrace prometheus debootstrap \
	gcc libc6-dev

# What `make hosts` and `make fresh` run.
APART := tests/test_fresh_machine.py tests/test_terminal.py::test_a_drill_down_on_a_real_host

.PHONY: run test coverage hosts hosts-all fresh host-packages check deb man clean

# Install everything, and start it.
run: .venv/bin/kvmtop
	$(SUDO) .venv/bin/kvmtop

# The everyday tests (two and a half minutes on two CPUs; many of them wait, so there is a worker more). With
# KVMTOP_REQUIRE_HOSTS=1 none is skipped for want of root or BPF; what `make hosts` and `make fresh` run is never among
# them. A test that hangs ends after five minutes, with all stacks.
test: .venv/bin/pytest
	PYTEST_XDIST_AUTO_NUM_WORKERS=$${PYTEST_XDIST_AUTO_NUM_WORKERS:-$$(($$(nproc) + 1))} \
		.venv/bin/python -m pytest -n auto --maxprocesses=8 --dist worksteal $(APART:%=--deselect=%) \
		-o faulthandler_timeout=300 -o faulthandler_exit_on_timeout=true

# Which lines the everyday tests run (seven minutes).
coverage: .venv/bin/pytest
	.venv/bin/python -m pytest -q --cov=kvmtop --cov-report=term-missing:skip-covered

host-packages:
	dpkg -s $(HOST_PACKAGES) >/dev/null 2>&1 || $(SUDO) sh -c 'apt-get update && $(APT) $(HOST_PACKAGES)'

# The emulated hosts, two at a time (root).
hosts: .venv/bin/pytest host-packages
	$(SUDO) .venv/bin/python -m tests.hosts.suite amd intel

# With what takes long and rarely breaks.
hosts-all: .venv/bin/pytest host-packages
	$(SUDO) .venv/bin/python -m tests.hosts.suite --all amd intel

# Debian 12 and 13 from nothing to the dashboard, the tests and the package (root).
fresh: .venv/bin/pytest host-packages
	$(SUDO) .venv/bin/python -m tests.hosts.suite fresh

check: .venv/bin/pytest
	.venv/bin/ruff check
	.venv/bin/lint-imports
	.venv/bin/mypy

# dist/kvmtop_VERSION_ARCHITECTURE.deb, with all that Debian does not have.
deb: .venv/bin/kvmtop
	dpkg -s dpkg-dev >/dev/null 2>&1 || $(SUDO) sh -c 'apt-get update && $(APT) dpkg-dev'
	.venv/bin/python -m tools.deb dist

man: .venv/bin/kvmtop
	.venv/bin/python -m tools.manual page | man -l -

.venv/bin/kvmtop: pyproject.toml
	dpkg -s $(RUN_PACKAGES) >/dev/null 2>&1 || $(SUDO) sh -c 'apt-get update && $(APT) $(RUN_PACKAGES)'
	$(PYTHON) -m venv --system-site-packages .venv
	.venv/bin/python -m pip install --quiet --editable .
	touch $@

.venv/bin/pytest: .venv/bin/kvmtop
	dpkg -s $(TEST_PACKAGES) >/dev/null 2>&1 || $(SUDO) sh -c 'apt-get update && $(APT) $(TEST_PACKAGES)'
	.venv/bin/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv
