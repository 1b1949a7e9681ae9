#!/usr/bin/env bash
# The documents tell the truth: every C and C++ program in them compiles without a warning and runs, and
# every link to a file leads to one.   tests/docs/run.sh   (after `cmake --build`)
source "$(dirname "$0")/../tap.sh"

WORK=$BUILD/docs
LIB=$BUILD/stage/lib
mapfile -t DOCUMENTS < <(git ls-files --cached --others --exclude-standard '*.md')
rm -rf "$WORK"
mkdir -p "$WORK"

# extract DOCUMENT: its fenced c and cpp blocks that have a main, as $WORK/DOCUMENT-N.c or .cpp
extract() {
    awk -v base="$WORK/$(tr / - <<<"${1%.md}")" '
        /^```(c|cpp)$/ { language = substr($0, 4); text = ""; next }
        /^```$/ && language { if (text ~ /int main\(/) printf "%s", text > (base "-" ++n "." language); language = ""; next }
        language { text = text $0 "\n" }' "$1"
}

# build_and_run FILE: its argument is a checkpoint, for those that want one.
build_and_run() {
    local compile=(cc -std=c11)
    [ "${1##*.}" = c ] || compile=(c++ -std=c++17)
    "${compile[@]}" -Wall -Wextra -Wpedantic -Werror -Iinclude -Ibindings/cpp/include "$1" -o "$1.out" \
        -L"$LIB" -lfourbit -lm -Wl,-rpath,"$LIB" &&
        "$1.out" tests/fixtures/tiny-llama
}

# links DOCUMENT: relative ones, without anchors.
links_lead_somewhere() {
    local document=$1 target broken=()
    while IFS= read -r target; do
        [ -e "$(dirname "$document")/$target" ] || broken+=("$target")
    done < <(grep -oE '\]\([^)]+\)' "$document" | sed -E 's/^\]\(//; s/\)$//; s/#.*//' | grep -vE '^($|[a-z]+:)')
    same "links of $document to nothing" "" "${broken[*]}"
}

for document in "${DOCUMENTS[@]}"; do
    extract "$document"
    check "links of $document" links_lead_somewhere "$document"
done
for program in "$WORK"/*.c "$WORK"/*.cpp; do
    [ -e "$program" ] && check "program in the documents: $(basename "$program")" build_and_run "$program"
done
check "README.md has a C program" test -e "$WORK/README-1.c"
finish
