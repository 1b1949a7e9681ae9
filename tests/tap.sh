# Sourced by the shell tests: each check prints `ok - NAME`, or `not ok - NAME` and what was said.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/../tools/common.sh"

CHECKS_FAILED=0

# check NAME COMMAND...: passes when the command succeeds.
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "ok - $name"
    else
        CHECKS_FAILED=$((CHECKS_FAILED + 1))
        echo "not ok - $name"
        printf '%s\n' "$output" | sed 's/^/    /'
    fi
}

# refused WORDS COMMAND...: succeeds when the command fails and says WORDS.
refused() {
    local words=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "it was accepted: $*"
        return 1
    fi
    grep -qF -- "$words" <<<"$output" && return
    printf 'refused, but without the words "%s":\n%s\n' "$words" "$output"
    return 1
}

# same WHAT EXPECTED FOUND
same() {
    [ "$2" = "$3" ] && return
    printf '%s: expected\n%s\nfound\n%s\n' "$1" "$2" "$3"
    return 1
}

skip() { echo "skip - $1: $2"; }

finish() { exit $((CHECKS_FAILED > 0)); }
