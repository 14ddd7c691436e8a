# Sourced by the steps: messages and stamps.
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
root=build/root
export CARGO_TARGET_DIR="$top/build/target"

die() {
	echo "synthjit: $*" >&2
	exit 1
}

# What a step's result depends on, as one word: texts given as arguments, and the step's own script.
digest() {
	{
		printf '%s\n' "$@"
		cat "$0"
	} | sha256sum | cut -c1-32
}

# fresh STAMP DIGEST: true, and says so, if the step that left STAMP had the same inputs.
fresh() {
	[ "$(cat "$1" 2>/dev/null)" = "$2" ] || return 1
	echo cached >&3
}

# image_of ROLE: the kernel's image, as it is called inside the build root; nothing if there is none.
image_of() {
	folder=$(qemu/kernel-of "$1" folder)
	image=$(find "$root${folder%/*}/image" -name 'vmlinuz*' 2>/dev/null | head -n 1)
	echo "${image#"$root"}"
}

need_root() {
	[ "$(id -u)" = 0 ] || die "$1 needs root: run make as root (sudo make ...)"
}
