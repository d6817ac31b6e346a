# `make demo` needs nothing but distribution packages; `make test` makes a .venv beside them.
PYTHON ?= /usr/bin/python3

quickstart = packaging/quickstart
venv = .venv
pytest = $(venv)/bin/pytest -q

.PHONY: help demo demo-clean package package-test test check unit integration nightly \
    vm system-test system-nightly bench bench-journal bench-large bench-later bench-long bench-memory \
    bench-metadata bench-openzfs bench-queue bench-workers fmt clean

help:
	@echo "make demo         migrate three sample repositories, on file-backed btrfs and ZFS (root)"
	@echo "make demo-clean   remove all that the demo made (root)"
	@echo "make package      build dist/dsgmigd_VERSION_all.deb (root, if something is missing)"
	@echo "make package-test install, upgrade, remove and purge it on a fresh Debian 12 (root)"
	@echo "make test         check, unit and integration; installs what is missing (root)"
	@echo "make check        ruff and mypy"
	@echo "make unit         unit tests"
	@echo "make integration  tests on real btrfs and real ZFS (root)"
	@echo "make nightly      thousands of random histories, faulty streams, faults and kills (root)"
	@echo "make system-test  the package in a virtual machine: systemd, OpenZFS, power cuts (root)"
	@echo "make system-nightly  that with 40 power cuts, and the integration tests in there (root)"
	@echo "make vm           a root shell in that machine (root)"
	@echo "make bench        dsgmigd beside rsync, hashing and the floor, in ten minutes (root)"
	@echo "make bench-journal  what a journal costs that does not read (root)"
	@echo "make bench-large  what a small change in a large file reads, writes and takes (root, 25 GB)"
	@echo "make bench-later  what one later snapshot costs, beside rsync and hashing all (root)"
	@echo "make bench-long   the same for many sizes, with plots; takes hours (root)"
	@echo "make bench-openzfs   some of it in the virtual machine, on the kernel's OpenZFS (root)"
	@echo "make bench-memory the memory that two million entries take (root, 10 GB, ten minutes)"
	@echo "make bench-metadata  what DSG's metadata takes of a migration's time and space (root)"
	@echo "make bench-queue  how soon the first of 100,000 waiting requests is claimed"
	@echo "make bench-workers  what four workers gain over one (root)"
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

# Recursion, so that the .venv is made after the packages that it is made of.
test:
	@if [ "$$(id -u)" -eq 0 ]; then $(quickstart)/install-requirements test; \
	else echo "not root: integration tests need root and are skipped; try: sudo make test"; fi
	@$(MAKE) --no-print-directory check
	@$(pytest)

check: $(venv)/ready
	$(venv)/bin/ruff check
	$(venv)/bin/ruff format --check
	$(venv)/bin/mypy

unit: $(venv)/ready
	$(pytest) tests/unit

integration: $(venv)/ready
	@[ "$$(id -u)" -eq 0 ] || echo "not root: integration tests need root and are skipped"
	$(pytest) tests/integration

# The first asks for new histories, the last two for every kill and every kind of call that fails,
# the others for more of the same.
nightly: $(venv)/ready
	@[ "$$(id -u)" -eq 0 ] || echo "not root: integration tests need root and are skipped"
	DSGMIGD_HISTORIES=2000 DSGMIGD_STREAMS=100000 DSGMIGD_FAULTS=1000 DSGMIGD_KILLS=all \
	DSGMIGD_RANDOM_KILLS=500 DSGMIGD_DROPS=20000 DSGMIGD_REQUESTS=1000000 \
	DSGMIGD_FAILING_CALLS=kinds \
	    $(pytest) tests/integration/test_random_histories.py \
	    tests/unit/btrfs/test_fuzzed_streams.py tests/integration/test_corruption.py \
	    tests/integration/test_every_kill.py tests/integration/test_random_kills.py \
	    tests/integration/test_deep_queue.py tests/unit/test_fuzzed_requests.py \
	    tests/integration/test_failing_calls.py

# The machine's disk is built first, once. tests/system/image.py says where it stays.
system-test:
	@$(quickstart)/install-requirements test
	@$(quickstart)/install-requirements vm
	@$(MAKE) --no-print-directory $(venv)/ready package
	@$(pytest) tests/system

system-nightly: export DSGMIGD_POWER_CUTS ?= 40
system-nightly: export DSGMIGD_NIGHTLY = 1
system-nightly: system-test

vm: package
	@$(quickstart)/install-requirements vm
	@$(PYTHON) -m tests.system.shell

bench: program = compare
bench-journal: program = deaf_journal
bench-large: program = large_file
bench-later: program = later_snapshot
bench-memory: program = many_entries
bench-metadata: program = metadata_share
bench-workers: program = several_workers
bench bench-journal bench-large bench-later bench-memory bench-metadata bench-workers:
	@$(quickstart)/install-requirements
	@PYTHONPATH=$(CURDIR):$(CURDIR)/$(quickstart) $(PYTHON) bench/$(program).py $(BENCH)

bench-openzfs: package
	@$(quickstart)/install-requirements vm
	@PYTHONPATH=$(CURDIR) $(PYTHON) bench/openzfs.py -- $(BENCH)

bench-long:
	@$(quickstart)/install-requirements bench
	@PYTHONPATH=$(CURDIR):$(CURDIR)/$(quickstart) $(PYTHON) bench/compare.py \
	    --set long --rounds 3 --json bench.json --plots bench-plots $(BENCH)

bench-queue:
	@PYTHONPATH=$(CURDIR) $(PYTHON) bench/waiting_requests.py $(BENCH)

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
