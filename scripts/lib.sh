# Helpers that the scripts here source.
set -euo pipefail
umask 022
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=$ROOT/.cache
PG_MAJOR=15
PG_BIN=${PG_BINDIR_15:-/usr/lib/postgresql/$PG_MAJOR/bin}

die() { echo "${0##*/}: $*" >&2; exit 1; }

# step NAME COMMAND...: a line with its time; the output of one that fails, which ends the script. The output is in $log.
step() {
  local name=$1 from=$EPOCHREALTIME
  shift
  # In a subshell, so that a step that exits is reported like any other that fails.
  if ("$@") >"$log" 2>&1 </dev/null; then printf 'ok      %9s  %s\n' "$(seconds_since "$from")" "$name"; return; fi
  cat "$log"
  printf 'FAILED  %9s  %s\n' "$(seconds_since "$from")" "$name"
  exit 1
}

seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }'; }

# PostgreSQL refuses to run as root: root starts it as this user, everybody else as themselves.
server_user() { if [ "$(id -u)" -eq 0 ]; then echo "${TEST_USER:-postgres}"; else id -un; fi; }

# as_server_user HOME COMMAND...: run it as that user, from a directory that every user can read.
as_server_user() {
  local home=$1 user
  shift
  if [ "$(id -u)" -ne 0 ]; then (cd / && exec env HOME="$home" "$@"); return; fi
  user=$(server_user)
  (cd / && exec setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups env HOME="$home" "$@")
}

# in_memory: temporary files lie in memory from now on, where there is enough of it: a disk would be waited for most of the time. What
# survives a power failure is proven with recorded operations, and by kills in scripts/crash and scripts/receiver-faults on a disk.
in_memory() {
  local free_kib
  free_kib=$(df --output=avail /dev/shm 2>/dev/null | tail -n 1) || return 0
  if [ -w /dev/shm ] && [ "$free_kib" -gt $((8 << 20)) ]; then export TMPDIR=/dev/shm; fi
}

# install_packages PACKAGE...: install the Debian packages that are missing.
install_packages() {
  local missing=() package options=(-o DPkg::Lock::Timeout=300 -qq -y --no-install-recommends)
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" -eq 0 ] || die "Debian packages are missing; as root: apt-get install --no-install-recommends ${missing[*]}"
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # The lists are refreshed only if they do not know the packages (yet).
  apt-get "${options[@]}" install "${missing[@]}" ||
    { apt-get "${options[@]}" update && apt-get "${options[@]}" install "${missing[@]}"; } ||
    die "apt-get could not install ${missing[*]}"
}

install_postgres() { [ -n "${PG_BINDIR_15:-}" ] || install_packages "postgresql-$PG_MAJOR"; }

# One choice of packages for all tests: another one would have other features of what they depend on, and build that again.
build_and_test() { cargo test --workspace --lib --bins --tests --locked "$@"; }

# tests_of DIRECTORY KIND ARGUMENT...: runs the tests of the package in that directory there, as cargo does: those of the
# library (KIND lib), or those in tests/ (KIND test).
tests_of() {
  local directory=$1 kind=$2 program
  shift 2
  program=$(build_and_test --no-run --message-format=json |
    sed -n "s|.*/$directory#.*\"kind\":\[\"$kind\"\].*\"executable\":\"\([^\"]*\)\".*|\1|p")
  [ -x "$program" ] || die "$directory has no tests of the kind $kind"
  (cd "$ROOT/$directory" && exec "$program" "$@")
}
