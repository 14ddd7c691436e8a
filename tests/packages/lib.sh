# Sourced by the tests of the packages.

# Files of this machine that packages may leave or change by design are logs, caches, and what dpkg and systemd keep of the past;
# and what the test itself removes on the way: $1, an extended regular expression.
files() {
	find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /packages \
		-o -path /var/log -o -path /var/cache -o -path /var/lib/apt/lists -o -path /var/backups -o -path /var/tmp \) -prune \
		-o -printf '%y %m %p\n' |
		grep -Ev " (/var/lib/dpkg/[a-z-]*-old|/var/lib/systemd/(timers|random-seed|catalog)[^ ]*${1:+|$1})\$" | sort
}

# nothing_left BEFORE AFTER: true if two lists of files are the same and no package is half installed; tells what differs.
nothing_left() {
	diff "$1" "$2" && [ -z "$(dpkg --audit)" ] && ! dpkg-query --show synthctl synthjit-dkms 2>/dev/null
}

die() {
	echo "$*" >&2
	exit 1
}
