# The targets of the build tree, for the tests, the examples and projects that add_subdirectory() us.
# They mirror cmake/fourbitTargets.cmake.in, which makes the same ones from an installed tree.

if(FOURBIT_SHARED)
    add_library(fourbit_shared SHARED IMPORTED GLOBAL)
    set_target_properties(fourbit_shared PROPERTIES
        IMPORTED_LOCATION "${FOURBIT_STAGE}/lib/${FOURBIT_SHARED_FILE}"
        IMPORTED_SONAME "${FOURBIT_SONAME}"
        INTERFACE_INCLUDE_DIRECTORIES "${PROJECT_SOURCE_DIR}/include")
    add_dependencies(fourbit_shared fourbit_libraries)
    add_library(fourbit::shared ALIAS fourbit_shared)
endif()

if(FOURBIT_STATIC)
    add_library(fourbit_static STATIC IMPORTED GLOBAL)
    set_target_properties(fourbit_static PROPERTIES
        IMPORTED_LOCATION "${FOURBIT_STAGE}/lib/${FOURBIT_STATIC_FILE}"
        INTERFACE_COMPILE_DEFINITIONS FOURBIT_STATIC
        INTERFACE_LINK_LIBRARIES "${FOURBIT_NATIVE_LIBS}"
        INTERFACE_INCLUDE_DIRECTORIES "${PROJECT_SOURCE_DIR}/include")
    add_dependencies(fourbit_static fourbit_libraries)
    add_library(fourbit::static ALIAS fourbit_static)
endif()

add_library(fourbit_default INTERFACE)
if(FOURBIT_SHARED)
    target_link_libraries(fourbit_default INTERFACE fourbit::shared)
else()
    target_link_libraries(fourbit_default INTERFACE fourbit::static)
endif()
add_library(fourbit::fourbit ALIAS fourbit_default)

add_library(fourbit_cpp INTERFACE)
target_link_libraries(fourbit_cpp INTERFACE fourbit::fourbit)
target_include_directories(fourbit_cpp INTERFACE "${PROJECT_SOURCE_DIR}/bindings/cpp/include")
target_compile_features(fourbit_cpp INTERFACE cxx_std_17)
add_library(fourbit::cpp ALIAS fourbit_cpp)
