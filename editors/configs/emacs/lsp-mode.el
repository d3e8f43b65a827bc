;;; lsp-mode.el --- dlsp in Emacs with lsp-mode 10 or newer -*- lexical-binding: t -*-

;; Put this into your init file.  Ghost text comes while you pause; TAB takes it.

(require 'lsp-mode)
(require 'lsp-inline-completion)

(defvar dlsp-command '("dlsp" "serve" "--stdio")
  "The language server and its arguments.")

(defvar dlsp-settings '(:deadlineMs 300)
  "Settings, by the names of docs/settings.md.")

(defvar dlsp-status nil
  "The server's last word on itself.  The mode line shows it.")

(defun dlsp--status (_workspace status)
  "Keep STATUS and show it."
  (setq dlsp-status (format " dlsp:%s" (lsp-get status :state)))
  (force-mode-line-update t))

(defun dlsp--run (command argument)
  "Have the server run COMMAND with ARGUMENT; it answers in the echo area."
  (with-lsp-workspace (or (lsp-find-workspace 'dlsp) (user-error "The server dlsp does not run"))
    (lsp-workspace-command-execute command (vector argument))))

(defun dlsp-snooze (minutes)
  "Offer nothing unasked for MINUTES."
  (interactive "nMinutes: ")
  (dlsp--run "dlsp.snooze" (lsp-ht ("minutes" minutes))))

(defun dlsp-resume ()
  "Offer text again."
  (interactive)
  (dlsp--run "dlsp.resume" (lsp-ht)))

(defun dlsp-toggle ()
  "Switch offering text off or on."
  (interactive)
  (dlsp--run "dlsp.toggle" (lsp-ht)))

(lsp-register-client
 (make-lsp-client
  :server-id 'dlsp
  :new-connection (lsp-stdio-connection (lambda () dlsp-command))
  :activation-fn (lambda (&rest _) t)
  ;; Beside the server of the language, if there is one.
  :add-on? t
  :initialization-options (lambda () dlsp-settings)
  :notification-handlers (lsp-ht ("dlsp/status" #'dlsp--status))))

;; In seconds: longer than `infillDeadlineMs`, or lsp-mode gives up a filling before it comes.
(setq lsp-response-timeout 30)
;; The pause before the ghost text is the sum of these two, in seconds; lsp-mode's own 2.5 is long.
(setq lsp-idle-delay 0.2
      lsp-inline-completion-idle-delay 0.1)
(keymap-set lsp-inline-completion-active-map "TAB" #'lsp-inline-completion-accept)
(add-to-list 'mode-line-misc-info 'dlsp-status t)

(add-hook 'prog-mode-hook #'lsp-deferred)

;;; lsp-mode.el ends here
