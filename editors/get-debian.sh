#!/usr/bin/env bash
# Unpack Debian packages and all they need, their own libc included, into FOLDER:   editors/get-debian.sh FOLDER SUITE PACKAGE...
#
# Nothing is installed and no root is needed: apt runs with a private configuration and an empty status file, so the system's
# package database is neither read nor written. Signatures are checked. Run a binary that came this way after `patchelf` has
# told it where its own libc is (the last lines of get-helix.sh do so).
#
# Exit status 3 means "cannot be had on this machine"; the reason is the last line on stderr.
set -euo pipefail

FOLDER=$(mkdir -p "$1" && cd "$1" && pwd -P)
SUITE=$2
shift 2

unavailable() {
    echo "$1" >&2
    exit 3
}

[ "$(uname -s)" = Linux ] || unavailable "this recipe is for Linux"
for tool in apt-get dpkg dpkg-deb; do
    command -v "$tool" >/dev/null || unavailable "$tool is missing, so this is no Debian or Ubuntu"
done
key=$(dpkg -L debian-archive-keyring 2>/dev/null | grep -m1 '/debian-archive-keyring\.[a-z]*$') || unavailable "Debian's archive keyring is not installed"
# The archive's address is the one this machine already uses; nothing is written down here.
archive=$(apt-get indextargets --format "\$(REPO_URI)" "Created-By: Packages" 2>/dev/null | head -1)
[ -n "$archive" ] || unavailable "apt has no package lists; run \`apt-get update\` once"

APT=$FOLDER/.apt
trap 'rm -rf "$APT"' EXIT
rm -rf "$APT"
mkdir -p "$APT"/etc/{apt.conf.d,preferences.d,trusted.gpg.d,sources.list.d} "$APT/state/lists/partial" "$APT/cache/archives/partial"
: > "$APT/status"
echo "deb [signed-by=$key] $archive $SUITE main" > "$APT/etc/sources.list"
cat > "$APT/apt.conf" <<CONF
Dir::Etc "$APT/etc/"; Dir::State "$APT/state/"; Dir::State::status "$APT/status"; Dir::Cache "$APT/cache/";
Acquire::Languages "none"; Acquire::Check-Valid-Until "false"; Acquire::Check-Date "false"; Acquire::Retries "2"; Acquire::http::Timeout "30";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false"; APT::Sandbox::User "$(id -un)";
CONF
export APT_CONFIG=$APT/apt.conf
apt-get -qq update || unavailable "the package archive cannot be reached"
# Without root apt refuses `install` even for a mere download, unless it need not lock the (private, empty) system state.
apt-get -qq install -y --download-only --no-install-recommends -o Debug::NoLocking=1 "$@" >/dev/null || unavailable "the suite $SUITE does not offer $*"
for package in "$APT"/cache/archives/*.deb; do
    dpkg-deb -x "$package" "$FOLDER"
done
