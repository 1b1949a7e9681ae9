# Has cargo build the libraries and the command, and stages them under their final names.
#
# Sets:  FOURBIT_STAGE        the staged files: lib/, bin/
#        FOURBIT_SONAME, FOURBIT_SHARED_FILE, FOURBIT_STATIC_FILE   file names
#        FOURBIT_NATIVE_LIBS  what a program links beside the static library
# Makes: targets fourbit_libraries and fourbit_command

find_program(FOURBIT_CARGO cargo HINTS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin")
if(NOT FOURBIT_CARGO)
    message(FATAL_ERROR "fourbit: cargo was not found; install Rust (https://rustup.rs) or set FOURBIT_CARGO")
endif()
set(FOURBIT_CARGO_TARGET_DIR "${PROJECT_BINARY_DIR}/cargo" CACHE PATH
    "Where cargo builds; the checkout's target/ shares work with cargo called by hand")
set(FOURBIT_CARGO_FLAGS "--locked" CACHE STRING "Flags for every cargo call")
separate_arguments(fourbit_cargo_flags UNIX_COMMAND "${FOURBIT_CARGO_FLAGS}")

set(FOURBIT_STAGE "${PROJECT_BINARY_DIR}/stage")
set(FOURBIT_SONAME "libfourbit.so.${fourbit_abi}")
set(FOURBIT_SHARED_FILE "libfourbit.so.${PROJECT_VERSION}")
set(FOURBIT_STATIC_FILE "libfourbit.a")
# What `rustc --print native-static-libs` says; tests/abi/run.sh compares.
set(FOURBIT_NATIVE_LIBS gcc_s util rt pthread m dl c)

# Messages of panics carry source paths: not those of the machine that built it. Flags in the environment
# (RUSTFLAGS) take the place of these.
set(cargo_home "$ENV{CARGO_HOME}")
set(rustup_home "$ENV{RUSTUP_HOME}")
if(NOT cargo_home)
    set(cargo_home "$ENV{HOME}/.cargo")
endif()
if(NOT rustup_home)
    set(rustup_home "$ENV{HOME}/.rustup")
endif()
set(remapped "")
foreach(pair IN ITEMS "${PROJECT_SOURCE_DIR}=fourbit" "${cargo_home}=cargo" "${rustup_home}=rustup")
    list(APPEND remapped "\"--remap-path-prefix=${pair}\"")
endforeach()
list(JOIN remapped "," remapped)
list(APPEND fourbit_cargo_flags --config "build.rustflags=[${remapped}]")

set(fourbit_cargo "${CMAKE_COMMAND}" -E env "CARGO_TARGET_DIR=${FOURBIT_CARGO_TARGET_DIR}" "${FOURBIT_CARGO}")

function(fourbit_stage_command out kind from to)
    set(${out} COMMAND "${CMAKE_COMMAND}" "-DFROM=${FOURBIT_CARGO_TARGET_DIR}/${from}" "-DTO=${FOURBIT_STAGE}/${to}"
        "-DKIND=${kind}" "-DSTRIP=$<$<BOOL:${FOURBIT_STRIP}>:${CMAKE_STRIP}>"
        -P "${PROJECT_SOURCE_DIR}/cmake/stage.cmake" PARENT_SCOPE)
endfunction()

# Named crate types, and not the manifest's: with an rlib among them cargo leaves link-time optimisation
# out, and the static library is five times as large.
set(crate_types "")
set(stage_steps "")
set(staged "")
if(FOURBIT_SHARED)
    list(APPEND crate_types --crate-type cdylib)
    fourbit_stage_command(step shared dist/libfourbit.so "lib/${FOURBIT_SHARED_FILE}")
    list(APPEND stage_steps ${step}
         COMMAND "${CMAKE_COMMAND}" -E create_symlink "${FOURBIT_SHARED_FILE}" "${FOURBIT_STAGE}/lib/${FOURBIT_SONAME}"
         COMMAND "${CMAKE_COMMAND}" -E create_symlink "${FOURBIT_SONAME}" "${FOURBIT_STAGE}/lib/libfourbit.so")
    list(APPEND staged "${FOURBIT_STAGE}/lib/${FOURBIT_SHARED_FILE}")
endif()
if(FOURBIT_STATIC)
    list(APPEND crate_types --crate-type staticlib)
    fourbit_stage_command(step static dist/libfourbit.a "lib/${FOURBIT_STATIC_FILE}")
    list(APPEND stage_steps ${step})
    list(APPEND staged "${FOURBIT_STAGE}/lib/${FOURBIT_STATIC_FILE}")
endif()

# cargo knows what is stale, so it is always asked.
add_custom_target(fourbit_libraries ALL
    COMMAND ${fourbit_cargo} rustc --profile dist --lib ${fourbit_cargo_flags} ${crate_types} --
            --print "native-static-libs=${FOURBIT_CARGO_TARGET_DIR}/native-static-libs.txt"
    ${stage_steps}
    BYPRODUCTS ${staged}
    WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
    COMMENT "cargo: the fourbit libraries" USES_TERMINAL VERBATIM COMMAND_EXPAND_LISTS)

if(FOURBIT_CLI)
    fourbit_stage_command(step command release/fourbit bin/fourbit)
    add_custom_target(fourbit_command ALL
        COMMAND ${fourbit_cargo} build --release --bin fourbit --features cli ${fourbit_cargo_flags}
        ${step}
        BYPRODUCTS "${FOURBIT_STAGE}/bin/fourbit"
        WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
        COMMENT "cargo: the fourbit command" USES_TERMINAL VERBATIM COMMAND_EXPAND_LISTS)
    # One after the other: cargo locks its target directory.
    add_dependencies(fourbit_command fourbit_libraries)
endif()
