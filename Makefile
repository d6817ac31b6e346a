# `make demo` needs nothing but distribution packages; `make test` makes a .venv beside them.
PYTHON ?= /usr/bin/python3

quickstart = packaging/quickstart
venv = .venv
# A test that hangs fails, and says where. The first test in a machine builds what this boots from.
pytest = $(venv)/bin/pytest -q --timeout 2400
# Each test process has its own btrfs, its own pool and, without the kernel's ZFS, its own zfs-fuse.
# Tests wait a part of their time: two processes, or two machines, share a processor.
parallel = -n $(shell expr $$(nproc) \* 2) --maxprocesses 8 --dist worksteal
machines = $(parallel)
on_openzfs = tests/system/test_integration.py

.PHONY: help demo demo-clean package package-test test test-long run-test short-tests run-test-long check unit \
    integration nightly vm system-test system-nightly test-openzfs machine-tests \
    machine-images bench bench-help fmt clean

help:
	@echo "make demo         migrate three sample repositories, on file-backed btrfs and ZFS (root)"
	@echo "make demo-clean   remove all that the demo made (root)"
	@echo "make package      build dist/dsgmigd_VERSION_all.deb (root, if something is missing)"
	@echo "make package-test install, upgrade, remove and purge it on a fresh Debian 12 (root)"
	@echo "make test         check, unit and integration, in ten minutes; installs what is missing (root)"
	@echo "make test-long    larger samples of the tests that try random or very many cases (root)"
	@echo "make check        ruff and mypy"
	@echo "make unit         unit tests"
	@echo "make integration  tests on real btrfs and real ZFS (root)"
	@echo "make nightly      the same with thousands of cases; takes hours (root)"
	@echo "make test-openzfs the integration tests in virtual machines, on the kernel's OpenZFS (root)"
	@echo "make system-test  the package in a virtual machine: systemd, OpenZFS, a power cut (root)"
	@echo "make machine-tests  both of these (root)"
	@echo "make system-nightly  that with 40 power cuts (root)"
	@echo "make vm           a root shell in that machine (root)"
	@echo "make bench WHAT=... measure speed or memory; make bench-help lists what (root)"
	@echo "make fmt          format the code"
	@echo "make clean        remove what make made here"

demo:
	@$(quickstart)/install-requirements
	@PYTHONPATH=$(CURDIR) $(PYTHON) $(quickstart)/demo.py

demo-clean:
	@PYTHONPATH=$(CURDIR) $(PYTHON) $(quickstart)/demo.py clean

package:
	@[ "$$(id -u)" -ne 0 ] || $(quickstart)/install-requirements package
	@packaging/build-package

package-test:
	@$(quickstart)/install-requirements test
	@$(quickstart)/install-requirements package-test
	@$(MAKE) --no-print-directory $(venv)/ready
	@$(pytest) tests/package

# Recursion, because the .venv is made of packages that are installed first.
test test-long:
	@if [ "$$(id -u)" -eq 0 ]; then $(quickstart)/install-requirements test; \
	else echo "not root: integration tests need root and are skipped; try: sudo make $@"; fi
	@$(MAKE) --no-print-directory run-$@

# The static checks use one processor for a minute: the tests begin beside them.
run-test: $(venv)/ready
	@$(MAKE) --no-print-directory --jobs=2 check short-tests

short-tests:
	@DSGMIGD_TESTS=short $(pytest) $(parallel)

# The tests without the marker do the same in `make test`.
run-test-long: $(venv)/ready
	@DSGMIGD_TESTS=long $(pytest) $(parallel) -m sweep -rP

check: $(venv)/ready
	$(venv)/bin/ruff check
	$(venv)/bin/ruff format --check
	$(venv)/bin/mypy

unit: $(venv)/ready
	$(pytest) $(parallel) tests/unit

integration: $(venv)/ready
	@[ "$$(id -u)" -eq 0 ] || echo "not root: integration tests need root and are skipped"
	$(pytest) $(parallel) tests/integration

# tests/amounts.py says how much each sweep does.
nightly: $(venv)/ready
	@[ "$$(id -u)" -eq 0 ] || echo "not root: integration tests need root and are skipped"
	DSGMIGD_TESTS=nightly $(pytest) $(parallel) -m sweep -rP

# What the machines boot from is built first, once. tests/system/image.py says where it stays.
# Each process has machines of its own; all tests in one run keep all processors busy to its end.
system-test: in-machines = tests/system --ignore=$(on_openzfs)
test-openzfs: in-machines = $(on_openzfs)
machine-tests: in-machines = tests/system
test-openzfs: machine-needs = vm
machine-needs = emulated
system-test test-openzfs machine-tests:
	@$(quickstart)/install-requirements test
	@$(quickstart)/install-requirements $(machine-needs)
	@$(MAKE) --no-print-directory $(venv)/ready package
	@$(pytest) $(machines) $(in-machines)

# All that the machines boot from. The tests build what they need, if this did not.
machine-images:
	@$(quickstart)/install-requirements emulated
	@$(PYTHON) -c "from tests.system.image import *; provide_kernel(); provide_root(); provide_emulated()"

system-nightly: export DSGMIGD_TESTS = nightly
system-nightly: system-test

vm: package
	@$(quickstart)/install-requirements vm
	@$(PYTHON) -m tests.system.shell

# WHAT is one of these; BENCH are options of the program.
bench-cases = cases.py
bench-compare = compare.py
bench-counts = counts.py
bench-journal = deaf_journal.py
bench-large = large_file.py
bench-later = later_snapshot.py
bench-long = compare.py --set long --rounds 3 --json bench.json --plots bench-plots
bench-memory = many_entries.py
bench-metadata = metadata_share.py
bench-openzfs = openzfs.py
bench-queue = waiting_requests.py
bench-unchanged = unchanged_entries.py
bench-workers = several_workers.py
# What a bench needs, if not what the demo needs.
bench-counts-needs = counts
bench-long-needs = bench
bench-openzfs-needs = vm

WHAT ?= compare
bench:
	@[ -n "$(bench-$(WHAT))" ] || { echo "make bench: WHAT=$(WHAT) is unknown. Known are:"; \
	    $(MAKE) --no-print-directory bench-help; exit 2; }
	@[ "$(WHAT)" = queue ] || $(quickstart)/install-requirements $(bench-$(WHAT)-needs)
	@[ "$(WHAT)" != openzfs ] || $(MAKE) --no-print-directory package
	@PYTHONPATH=$(CURDIR):$(CURDIR)/$(quickstart) $(PYTHON) bench/$(bench-$(WHAT)) $(BENCH)

bench-help:
	@echo "WHAT=cases     extend, ten times the unchanged files, small, 100 repositories (root)"
	@echo "WHAT=compare   dsgmigd beside rsync, hashing and the floor, in ten minutes (root)"
	@echo "WHAT=counts    system calls a file, pool transactions a snapshot, and their bounds (root)"
	@echo "WHAT=journal   what a migration costs when journald does not read (root)"
	@echo "WHAT=large     what a small change in a large file reads, writes and costs (root, 25 GB)"
	@echo "WHAT=later     what one later snapshot costs, beside rsync and hashing all (root)"
	@echo "WHAT=long      the same as compare for many sizes, with plots; takes hours (root)"
	@echo "WHAT=memory    the memory that two million entries take (root, 10 GB, ten minutes)"
	@echo "WHAT=metadata  the share of DSG's metadata in a migration's time and space (root)"
	@echo "WHAT=openzfs   compare, cases, counts or memory on the kernel's OpenZFS, in a machine (root)"
	@echo "WHAT=queue     how soon the first of 100,000 waiting requests is claimed"
	@echo "WHAT=unchanged what the verifier does for an entry that did not change (root)"
	@echo "WHAT=workers   what four workers gain over one (root)"

fmt: $(venv)/ready
	$(venv)/bin/ruff format
	$(venv)/bin/ruff check --fix

# No build isolation: the distribution's setuptools does, and the runtime dependencies are the
# distribution's packages too.
$(venv)/ready: pyproject.toml
	@rm -rf $(venv)
	$(PYTHON) -m venv --system-site-packages $(venv)
	$(venv)/bin/pip install --quiet --no-build-isolation --editable '.[test]'
	@touch $@

clean:
	rm -rf $(venv) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
