# SPDX-License-Identifier: GPL-2.0
#
# The one front door; `make help` lists what it can do.
# With KDIR= the module is built here, for that kernel, with this machine's tools. Without, everything is done for the
# kernels that qemu/kernels pins, in a build root under build/ which the steps in qemu/ make and keep.

MAKEFLAGS += --no-print-directory
export CARGO_TARGET_DIR := $(CURDIR)/build/target

VM := $(CARGO_TARGET_DIR)/debug/vm
# Steps that everything begins with, and those that end in a module for the kernels of one role.
setup := host-packages build-root kernel-releases host-tools
module = kernel:$(1) kernel-source:$(1) module:$(1)

.PHONY: all demo report synthctl test test-host test-guest test-diff test-debug test-matrix test-transparency test-programs torture fuzz fuzz-host module-all deb test-deb clean help

ifeq ($(KDIR),)
all:
	@qemu/steps $(setup) $(call module,run)
	@echo "built synthjit.ko for $$(qemu/kernel-of run)"
else
all:
	@tools/build-module $(KDIR)
	@release=$$(cat $(KDIR)/include/config/kernel.release) && \
		cp build/kmod/$$release/synthjit.ko . && echo "built synthjit.ko for $$release"
endif

# With man pages and completions.
synthctl:
	@cargo build --quiet --locked --release --package synthctl
	@$(CARGO_TARGET_DIR)/release/synthctl-files build/synthctl
	@cp $(CARGO_TARGET_DIR)/release/synthctl build/synthctl/
	@echo "built synthctl, with man pages and completions, in build/synthctl"

demo:
	@qemu/steps $(setup) $(call module,run) guest-programs
	@$(VM) demo

# One page with figures, build/report/index.html: docs/report.md.
report:
	@qemu/steps $(setup) $(call module,run) module-left-out guest-programs report-tools
	@$(VM) test --guest --boots qemu/boots-report.toml
	@$(CARGO_TARGET_DIR)/debug/report .

test:
	@qemu/steps $(setup) $(call module,run) $(call module,other) module-left-out module-other-build module-faults module-tests guest-programs
	@$(VM) test --host --guest

test-host:
	@qemu/steps $(setup) kernel:run kernel-source:run kernel:other kernel-source:other
	@$(VM) test --host

# BOOT=NAME runs one boot of qemu/boots.toml.
test-guest:
	@qemu/steps $(setup) $(call module,run) $(call module,other) module-left-out module-other-build module-faults module-tests guest-programs
	@$(VM) test --guest $(if $(BOOT),--boot $(BOOT))

# What continuous integration runs besides make test.
test-diff:
	@qemu/steps $(setup) $(call module,run) guest-programs
	@$(VM) test --guest --boots qemu/boots-diff.toml $(if $(BOOT),--boot $(BOOT))

# CELL=TEXT boots only the machines of qemu/matrix.toml whose name contains TEXT.
test-matrix:
	@qemu/steps $(setup) $(call module,run) $(call module,other) guest-programs
	@$(VM) matrix $(if $(CELL),--cell "$(CELL)")

# MINUTES=n and SEED=n for longer runs and others; BOOT=NAME runs one boot.
torture:
	@qemu/steps $(setup) $(call module,run) guest-programs
	@$(VM) torture $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(BOOT),--boot $(BOOT))

HOURS ?= 1
fuzz:
	@qemu/steps $(setup) $(call module,run) guest-programs
	@$(VM) fuzz --hours $(HOURS)

# The debug kernel and what runs on it: docs/debug-kernel.md. BOOT=NAME runs one boot of qemu/boots-debug.toml.
test-debug:
	@qemu/steps $(setup) kernel:other debug-kernel module:debug guest-programs
	@$(VM) test --guest --boots qemu/boots-debug.toml $(if $(BOOT),--boot $(BOOT))

# Debian's tools look at attached processes: a guest of its own, with a root of its own.
test-transparency:
	@qemu/steps $(setup) $(call module,run) guest-programs guest-root
	@$(VM) test --guest --boot transparency

# Real programs in the same root; SYNTH_BLESS=1 replaces the table of docs/programs.md.
test-programs:
	@qemu/steps $(setup) $(call module,other) guest-programs guest-root
	@$(VM) programs

# TARGET=NAME runs one target of fuzz/Cargo.toml.
SECONDS ?= 30
fuzz-host:
	@qemu/steps host-packages fuzz-targets
	@tools/fuzz-host $(SECONDS) $(TARGET)

# Packages for Debian 13: docs/packages.md.
deb:
	@qemu/steps $(setup) deb-tools deb
	@ls build/deb/*.deb

test-deb:
	@qemu/steps $(setup) kernel:run deb-tools deb:$$(qemu/deb-later) deb deb-root deb-modules guest-programs
	@$(VM) test --guest --boots qemu/boots-deb.toml

module-all:
	@qemu/steps $(setup) $(call module,run) $(call module,other)

clean:
	rm -rf build synthjit.ko

help:
	@echo "make                   synthjit.ko for the newest pinned kernel (qemu/kernels)"
	@echo "make KDIR=DIR          synthjit.ko for the kernel of DIR, e.g. /lib/modules/\$$(uname -r)/build on Debian 13"
	@echo "make synthctl          the program that attaches, explains and shows (docs/synthctl.md), in build/synthctl"
	@echo "make demo              boot that kernel in QEMU, run the pipe benchmark stock and attached, print the table"
	@echo "make report            where the instructions go, function by function: build/report/index.html (docs/report.md)"
	@echo "make test              every test: host, module builds, guest; ends with one line of counts"
	@echo "make test-host         only those that need no QEMU"
	@echo "make test-guest        only those in QEMU; BOOT=NAME for one boot of qemu/boots.toml"
	@echo "make test-diff         20,000 random sequences of calls, stock and attached compared; BOOT=NAME for one of qemu/boots-diff.toml"
	@echo "make test-transparency strace, libseccomp, trace-cmd, perf, gdb, auditd, AppArmor in Debian: what they see of an attached process"
	@echo "make test-programs     real programs that use pipes in Debian: what attaching them does (docs/programs.md)"
	@echo "make test-debug        the guest tests on a kernel with KASAN and lockdep; BOOT=NAME for one boot of qemu/boots-debug.toml"
	@echo "make test-matrix       CPU models and boot options, what each must answer and did (docs/matrix.md); CELL=TEXT for some"
	@echo "make torture           streams through pipes under every stressor, each byte checked; MINUTES=2, SEED=1"
	@echo "make fuzz              random calls, stock and attached compared, until they differ or HOURS=n (1; also 0.1) are over"
	@echo "make fuzz-host         arbitrary inputs for engine, spec compiler and runner, SECONDS=n (30) for each target (docs/fuzzing.md)"
	@echo "make deb               packages synthjit-dkms and synthctl for Debian 13, in build/deb (docs/packages.md)"
	@echo "make test-deb          installs, uses, upgrades and removes them in a clean Debian"
	@echo "make module-all        the module for every kernel in qemu/kernels"
	@echo "make clean             remove build/"
