# A program that prints every field of a header's structs with its offset and size, and the size of every struct
# that may not grow.   awk -f layout.awk fourbit.h > layout.c
BEGIN { print "#include \"fourbit.h\"\n#include <stdio.h>\nint main(void) {" }
/^typedef struct [a-z_]+ \{/ { struct = $3; fields = 0; grows = 0 }
struct && /^    [a-z].*;$/ {
    field = $NF
    gsub(/[*;]|\[.*/, "", field)
    if (++fields == 1 && field == "struct_size") grows = 1
    printf "    printf(\"%s.%s %%zu %%zu\\n\", offsetof(%s, %s), sizeof(((%s*)0)->%s));\n", struct, field, struct, field, struct, field
}
struct && /^\}/ {
    if (!grows) printf "    printf(\"%s %%zu\\n\", sizeof(%s));\n", struct, struct
    struct = ""
}
END { print "    return 0;\n}" }
