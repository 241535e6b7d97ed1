import os

# The tests in on_host/ need a machine whose KVM fires kvm_exit, and root: test_hosts.py runs them in the
# emulated ones. On a real KVM host: sudo KVMTOP_ON_HOST=1 .venv/bin/pytest tests/on_host
collect_ignore = [] if os.environ.get("KVMTOP_ON_HOST") else ["on_host"]
