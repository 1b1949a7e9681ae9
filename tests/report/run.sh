#!/usr/bin/env bash
# The page of `fourbit report` in a real browser: light and dark, wide and on a phone, it shows something and
# is no wider than the window.   tests/report/run.sh [FOURBIT]   (pictures: build/report/*.png)
source "$(dirname "$0")/../tap.sh"

FOURBIT=${1:-$BUILD/stage/bin/fourbit}
MODEL=tests/fixtures/tiny-llama
WORK=$BUILD/report
NAME="the page of fourbit report in a browser"

browser=
for candidate in chromium chromium-browser google-chrome; do
    have "$candidate" && browser=$candidate && break
done
if [ -z "$browser" ]; then
    skip "$NAME" "neither chromium nor google-chrome is installed"
    finish
fi
[ -x "$FOURBIT" ] || fail "$FOURBIT: no such command; build it first (make build), or name another"
rm -rf "$WORK"
mkdir -p "$WORK"

# in_browser WIDTH HEIGHT SCHEME ARGUMENT...: the browser without a window, a profile of its own, and no network.
in_browser() {
    local size=$1,$2 scheme=$3 profile
    shift 3
    profile=$(mktemp -d "$WORK/profile.XXXXXX")
    local options=(--headless --disable-gpu --no-first-run --disable-background-networking --disable-component-update
        --disable-sync --hide-scrollbars --user-data-dir="$profile" --window-size="$size")
    [ "$(id -u)" != 0 ] || options+=(--no-sandbox)
    [ "$scheme" = light ] || options+=(--blink-settings=preferredColorScheme=0)
    timeout 60 "$browser" "${options[@]}" "$@" 2>"$WORK/browser.log"
    local status=$?
    rm -rf "$profile"
    return $status
}

# with_ruler PAGE WIDTH: a copy that measures itself, in a frame of that width, since a browser's window cannot be
# as narrow as a phone. The page has no script of its own.
with_ruler() {
    sed 's|</body>|<script>parent.postMessage([document.documentElement.scrollWidth, innerWidth, document.body.innerText.length, document.querySelectorAll("svg rect").length, getComputedStyle(document.body).backgroundColor].join(" "), "*")</script></body>|' \
        "$1" >"$WORK/measured.html"
    cat >"$WORK/frame.html" <<HTML
<!DOCTYPE html><meta name="color-scheme" content="light dark">
<script>onmessage = (e) => document.documentElement.setAttribute("data-size", e.data)</script>
<iframe src="measured.html" style="width: $2px; height: 900px; border: 0"></iframe>
HTML
}

# fits PAGE WIDTH SCHEME
fits() {
    local page=$1 width=$2 scheme=$3 measured size window letters shapes
    with_ruler "$page" "$width"
    measured=$(in_browser 1400 1000 "$scheme" --virtual-time-budget=5000 --dump-dom "file://$WORK/frame.html" |
        sed -nE 's/.*data-size="([^"]*)".*/\1/p' | head -n 1)
    read -r size window letters shapes background <<<"$measured"
    [ -n "$measured" ] || { echo "the browser shows nothing: $(tail -n 3 "$WORK/browser.log")" && return 1; }
    [ "$letters" -gt 1000 ] || { echo "the page shows $letters characters of text" && return 1; }
    [ "$shapes" -gt 50 ] || { echo "the pictures have $shapes shapes" && return 1; }
    [ "$window" = "$width" ] || { echo "the frame is $window pixels wide, not $width" && return 1; }
    [ "$size" -le "$window" ] || { echo "the page is $size pixels wide, the window $window" && return 1; }
    printf '%s' "$background" >"$WORK/background-$scheme"
    in_browser "$width" 5000 "$scheme" --screenshot="$WORK/$width-$scheme.png" "file://$page" >/dev/null
    [ -s "$WORK/$width-$scheme.png" ]
}

dark_is_dark() { ! cmp -s "$WORK/background-light" "$WORK/background-dark" || { echo "both are $(cat "$WORK/background-light")" && return 1; }; }

PAGE=$WORK/page.html
"$FOURBIT" quantize "$MODEL" "$WORK/quantized" --quiet
"$FOURBIT" report "$MODEL" "$WORK/quantized" -o "$PAGE" --quiet --max-memory 0=400KiB,1=450KiB
for scheme in light dark; do
    for width in 1280 640 390; do
        check "$NAME: $scheme, $width pixels" fits "$PAGE" $width $scheme
    done
done
check "$NAME: dark differs from light" dark_is_dark
finish
