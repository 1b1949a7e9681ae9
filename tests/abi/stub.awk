# Turns the declarations of a preprocessed header into definitions: a library that has the header's types and
# functions, and no code, is what abidiff compares.   cc -E -P fourbit.h | awk -f stub.awk > stub.c
BEGIN { RS = ";" }
/[^ \n\t]/ {
    is_function = $0 !~ /typedef/ && $0 ~ /fourbit_[a-z0-9_]+\([^;]*\)[ \n\t]*$/
    printf "%s%s\n", $0, is_function ? " { __builtin_trap(); }" : ";"
}
