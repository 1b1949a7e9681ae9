#!/usr/bin/env bash
# Everything that must hold, in the order in which it fails fastest.
#   tools/test.sh [STEP...]      steps: see STEPS below; none: all of them, but for OPT_IN
# Each step's output goes to build/logs/STEP.log and is shown if the step fails (always with VERBOSE=1).
# The last line is `N passed, N failed`, over single tests.
source "$(dirname "$0")/common.sh"

STEPS="lint reference rust header headers build c sanitizers abi consumer docs demo dist go"
# Only by name: they download gigabytes.
OPT_IN="interop"
LOGS=$BUILD/logs
JOBS=$(nproc 2>/dev/null || echo 2)
mkdir -p "$LOGS"

step_lint() {
    tools/lint.sh
}

step_reference() {
    tools/docs.sh
}

step_rust() {
    cargo test --locked --features cli --no-fail-fast
}

step_header() {
    tools/header.sh --check
}

step_headers() {
    tests/headers/run.sh
}

step_build() {
    configure -DFOURBIT_BUILD_TESTS=ON -DFOURBIT_BUILD_EXAMPLES=ON &&
        cmake --build "$BUILD" --parallel "$JOBS"
}

step_c() {
    # What an earlier run left in the tests' scratch directories.
    rm -rf "$BUILD"/tests/scratch/*/*/*
    ctest --test-dir "$BUILD" --output-on-failure --no-tests=error --parallel "$JOBS"
    local status=$?
    have valgrind || echo "skip - memory checks: valgrind is not installed"
    return $status
}

step_sanitizers() {
    tests/sanitizers/run.sh
}

step_abi() {
    tests/abi/run.sh
}

step_consumer() {
    tests/consumer/run.sh
}

step_docs() {
    tests/docs/run.sh
}

step_demo() {
    tests/demo/run.sh
}

step_dist() {
    tests/dist/run.sh
}

step_go() {
    tests/go/run.sh
}

step_interop() {
    tests/interop/run.sh
}

# count LOG: "PASSED FAILED SKIPPED" as cargo test, ctest, go test -v and tests/tap.sh report them.
count() {
    awk '
        /^test result:/ {
            for (i = 2; i <= NF; i++) {
                if ($i ~ /^passed/) passed += $(i - 1)
                if ($i ~ /^failed/) failed += $(i - 1)
                if ($i ~ /^ignored/) skipped += $(i - 1)
            }
        }
        / tests failed out of [0-9]+$/ { failed += $(NF - 5); passed += $NF - $(NF - 5) }
        /^(ok - |--- PASS)/ { passed++ }
        /^(not ok - |--- FAIL)/ { failed++ }
        /^(skip - |--- SKIP)/ { skipped++ }
        END { print passed + 0, failed + 0, skipped + 0 }' "$1"
}

# What these test is what `build` makes.
NEEDS_BUILD="c sanitizers abi consumer docs demo dist go interop"
build_failed=

total_passed=0
total_failed=0
total_skipped=0

run_step() {
    local name=$1 log=$LOGS/$1.log status=0 passed failed skipped began=$SECONDS
    printf '%-10s' "$name"
    if [ -n "$build_failed" ] && [[ " $NEEDS_BUILD " == *" $name "* ]]; then
        total_failed=$((total_failed + 1))
        echo "not run: the build failed"
        return
    fi
    set +e
    if [ -n "${VERBOSE:-}" ]; then
        echo
        ("step_$name") 2>&1 </dev/null | tee "$log"
        status=${PIPESTATUS[0]}
    else
        ("step_$name") >"$log" 2>&1 </dev/null
        status=$?
    fi
    set -e
    read -r passed failed skipped < <(count "$log")
    # A step is a test too where it counts none, and a failure of the step itself is one.
    [ $((passed + failed + skipped)) -gt 0 ] || [ $status != 0 ] || passed=1
    [ $status = 0 ] || [ "$failed" -gt 0 ] || failed=1
    total_passed=$((total_passed + passed))
    total_failed=$((total_failed + failed))
    total_skipped=$((total_skipped + skipped))
    printf '%4d passed %3d failed %3d skipped   %4d s\n' "$passed" "$failed" "$skipped" $((SECONDS - began))
    grep '^skip - ' "$log" | sed 's/^skip - /  SKIPPED: /' || true
    if [ "$failed" -gt 0 ]; then
        [ -n "${VERBOSE:-}" ] || tail -n 80 "$log" | sed 's/^/  | /'
        [ "$name" != build ] || build_failed=yes
        echo "  FAILED: $name   (build/logs/$name.log; again: tools/test.sh $name)"
    fi
}

tools/setup.sh test
wanted=("$@")
[ $# -gt 0 ] || read -ra wanted <<<"$STEPS"
for step in "${wanted[@]}"; do
    case " $STEPS $OPT_IN " in
    *" $step "*) run_step "$step" ;;
    *) fail "no such step: $step (there are: $STEPS $OPT_IN)" ;;
    esac
done
echo
[ $total_skipped = 0 ] || echo "$total_skipped skipped (see SKIPPED above)"
echo "$total_passed passed, $total_failed failed"
[ $total_failed = 0 ]
