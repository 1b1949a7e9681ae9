# The install tree: libraries, headers, CMake package, pkg-config file, the command, licences, documents.
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/fourbit")
set(pkgconfig_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
# Both files find the prefix from where they lie themselves, so the tree may be moved.
file(RELATIVE_PATH FOURBIT_PACKAGE_TO_PREFIX "/${package_dir}" "/")
file(RELATIVE_PATH FOURBIT_PKGCONFIG_TO_PREFIX "/${pkgconfig_dir}" "/")
list(TRANSFORM FOURBIT_NATIVE_LIBS PREPEND "-l" OUTPUT_VARIABLE FOURBIT_NATIVE_FLAGS)
list(JOIN FOURBIT_NATIVE_FLAGS " " FOURBIT_NATIVE_FLAGS)
# Programs that link the static library need these always; with a shared one, pkg-config --static asks.
set(FOURBIT_PKGCONFIG_LIBS "-lfourbit")
if(NOT FOURBIT_SHARED)
    string(APPEND FOURBIT_PKGCONFIG_LIBS " ${FOURBIT_NATIVE_FLAGS}")
endif()

if(FOURBIT_SHARED)
    install(PROGRAMS "${FOURBIT_STAGE}/lib/${FOURBIT_SHARED_FILE}" DESTINATION "${CMAKE_INSTALL_LIBDIR}")
    install(FILES "${FOURBIT_STAGE}/lib/${FOURBIT_SONAME}" "${FOURBIT_STAGE}/lib/libfourbit.so"
            DESTINATION "${CMAKE_INSTALL_LIBDIR}")
endif()
if(FOURBIT_STATIC)
    install(FILES "${FOURBIT_STAGE}/lib/${FOURBIT_STATIC_FILE}" DESTINATION "${CMAKE_INSTALL_LIBDIR}")
endif()
if(FOURBIT_CLI)
    install(PROGRAMS "${FOURBIT_STAGE}/bin/fourbit" DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()
install(DIRECTORY include/fourbit bindings/cpp/include/fourbit DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")

set(generated "${PROJECT_BINARY_DIR}/package")
configure_package_config_file(cmake/fourbitConfig.cmake.in "${generated}/fourbitConfig.cmake"
    INSTALL_DESTINATION "${package_dir}"
    NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
configure_file(cmake/fourbitTargets.cmake.in "${generated}/fourbitTargets.cmake" @ONLY)
configure_file(cmake/fourbit.pc.in "${generated}/fourbit.pc" @ONLY)
# Before 1.0 a minor version may change the ABI.
write_basic_package_version_file("${generated}/fourbitConfigVersion.cmake"
    VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES "${generated}/fourbitConfig.cmake" "${generated}/fourbitConfigVersion.cmake"
        "${generated}/fourbitTargets.cmake" DESTINATION "${package_dir}")
install(FILES "${generated}/fourbit.pc" DESTINATION "${pkgconfig_dir}")
if(FOURBIT_STATIC)
    configure_file(cmake/fourbit-static.pc.in "${generated}/fourbit-static.pc" @ONLY)
    install(FILES "${generated}/fourbit-static.pc" DESTINATION "${pkgconfig_dir}")
endif()

install(FILES LICENSE-MIT LICENSE-APACHE README.md CHANGELOG.md DESTINATION "${CMAKE_INSTALL_DOCDIR}")
install(DIRECTORY docs/ DESTINATION "${CMAKE_INSTALL_DOCDIR}/docs" FILES_MATCHING PATTERN "*.md")
