# shellcheck shell=bash
# How the scripts talk, and what they share. Sourced from the repository's root.

export PATH="$PWD/.venv/bin:$PATH"
mkdir -p .slipway/log

if [[ -t 1 ]]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi

step() { printf '%s==> %s%s\n' "$bold" "$*" "$plain"; }

fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    (($# == 0)) || printf '       %s\n' "$@" >&2
    exit 1
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# logged LOG COMMAND...: keep a chatty command's output out of sight, until it fails.
logged() {
    local log=$1 status=0
    shift
    printf '$ %s\n' "$*" >>"$log"
    "$@" >>"$log" 2>&1 </dev/null || status=$?
    ((status == 0)) && return
    tail -n 20 "$log" | sed 's/^/    /' >&2
    fail "this failed (exit $status): $*" "The whole log is in $log. Mend the cause and run the same command again."
}
