;;; eglot.el --- dlsp in Emacs with eglot -*- lexical-binding: t -*-

;; Put this into your init file.  Text comes as completion: C-M-i asks for it.

(require 'eglot)

(defvar dlsp-command '("dlsp" "serve" "--stdio")
  "The language server and its arguments.")

(defvar dlsp-settings '(:deadlineMs 300 :infillDeadlineMs 9000)
  "Settings, by the names of docs/settings.md.
eglot gives up a filling after 10 seconds, so dlsp must be done before.")

;; eglot runs one server for a buffer, so dlsp takes the place of another one.
(add-to-list 'eglot-server-programs
             `((python-mode python-ts-mode)
               . (,@dlsp-command :initializationOptions ,dlsp-settings)))

(add-hook 'python-base-mode-hook #'eglot-ensure)

;;; eglot.el ends here
