#!/usr/bin/env bash
# Put what the VS Code test needs into DEST, and the extension's build tools beside its sources:   editors/get-vscode.sh DEST
#
#   DEST/bin/node          Node 24, which code-server asks for
#   DEST/bin/code-server   VS Code, served to a browser
#   DEST/bin/chromium      the browser: the system's own, or Debian's package unpacked (no root, nothing is installed)
#   DEST/node_modules/playwright-core   what presses the keys
#
# Everything comes through the ordinary clients npm and apt-get, from wherever they are set up to fetch.
# Exit status 3 means "cannot be had on this machine"; the reason is on stderr and in DEST/unavailable, where the test finds it
# and shows it as its reason to skip.
set -euo pipefail

CODE_SERVER=4.139.1
NODE=24.21.0
PLAYWRIGHT=1.65.1
DEST=$(mkdir -p "$1" && cd "$1" && pwd -P)
EXTENSION=$(cd "$(dirname "${BASH_SOURCE[0]}")/vscode" && pwd -P)
STAMP="$DEST/.complete-$CODE_SERVER-$NODE-$PLAYWRIGHT"
# Nothing of npm's own goes to the home folder.
export npm_config_cache="$DEST/.npm" npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false npm_config_loglevel=error

unavailable() {
    echo "get-vscode: $1" | tee "$DEST/unavailable" >&2
    exit 3
}

get_code_server() {
    local arch
    case "$(uname -m)" in
        x86_64) arch=x64 ;;
        aarch64) arch=arm64 ;;
        *) unavailable "there is no code-server for $(uname -m)." ;;
    esac
    rm -rf "$DEST/node_modules" "$DEST/bin" "$DEST"/.complete-*
    mkdir -p "$DEST/bin"
    echo '{ "private": true }' > "$DEST/package.json"
    # Its install scripts would compile native modules that need headers few machines have; the editor does without them.
    (cd "$DEST" && npm install --ignore-scripts --no-package-lock "node-linux-$arch@$NODE" "code-server@$CODE_SERVER" "playwright-core@$PLAYWRIGHT") ||
        unavailable "npm could not fetch code-server, Node and playwright-core; check the network and run it again."
    ln -s "../node_modules/node-linux-$arch/bin/node" "$DEST/bin/node"
    (cd "$DEST/node_modules/code-server/lib/vscode" && PATH="$DEST/bin:$PATH" npm install --omit=dev --ignore-scripts --no-package-lock) ||
        unavailable "npm could not fetch the libraries of code-server; check the network and run it again."
    printf '#!/bin/sh\nexec "%s/bin/node" "%s/node_modules/code-server/out/node/entry.js" "$@"\n' "$DEST" "$DEST" > "$DEST/bin/code-server"
    chmod +x "$DEST/bin/code-server"
}

get_chromium() {
    local installed package lib
    for installed in chromium chromium-browser google-chrome; do
        if installed=$(command -v "$installed"); then
            ln -sf "$installed" "$DEST/bin/chromium"
            return
        fi
    done
    for tool in apt-get dpkg-deb; do
        command -v "$tool" >/dev/null || unavailable "there is no Chromium, and $tool, which could fetch it, is missing; install Chromium and run it again."
    done
    rm -rf "$DEST/debs" "$DEST/root"
    mkdir -p "$DEST/debs/partial" "$DEST/root"
    # Only what the system lacks is downloaded; nothing is installed, so apt need not lock the system's state.
    apt-get -qq install -y --download-only --no-install-recommends -o Debug::NoLocking=1 -o "Dir::Cache::archives=$DEST/debs" \
        -o "APT::Sandbox::User=$(id -un)" chromium >/dev/null ||
        unavailable "apt could not fetch Chromium (after an \`apt-get update\` it may); install it and run this again."
    for package in "$DEST"/debs/*.deb; do
        dpkg-deb -x "$package" "$DEST/root"
    done
    rm -rf "$DEST/debs"
    lib=$(find "$DEST/root/usr/lib" -maxdepth 1 -type d -name '*-linux-gnu*' | head -1)
    # The package's own starter asks the system for settings; the binary behind it needs only its libraries.
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s:%s/pulseaudio" exec "%s/usr/lib/chromium/chromium" "$@"\n' "$lib" "$lib" "$DEST/root" > "$DEST/bin/chromium"
    chmod +x "$DEST/bin/chromium"
}

[ "$(uname -s)" = Linux ] || unavailable "this recipe is for Linux."
command -v npm >/dev/null || unavailable "npm is missing; install Node.js with npm and run it again."
rm -f "$DEST/unavailable"
if [ ! -e "$STAMP" ]; then
    get_code_server
    get_chromium
    "$DEST/bin/code-server" --version >/dev/null || unavailable "the code-server that was fetched does not run here."
    "$DEST/bin/chromium" --version >/dev/null || unavailable "the Chromium that was found does not run here; install a newer one and run this again."
    touch "$STAMP"
fi
if [ ! "$EXTENSION/node_modules/.package-lock.json" -nt "$EXTENSION/package-lock.json" ]; then
    (cd "$EXTENSION" && PATH="$DEST/bin:$PATH" npm ci --ignore-scripts) ||
        unavailable "npm could not fetch the extension's build tools; check the network and run it again."
fi
rm -rf "$DEST/.npm"
echo "code-server $("$DEST/bin/code-server" --version 2>/dev/null | head -1), $("$DEST/bin/chromium" --version 2>/dev/null | head -1), build tools in $EXTENSION/node_modules"
