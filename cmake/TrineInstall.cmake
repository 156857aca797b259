# What `cmake --install` and the wheel hold. Both have one layout (bin, lib, include, share), under the prefix or under
# site-packages/trine; SKBUILD says that it is the wheel.
#
# Components: runtime (libraries, command, models), devel (headers, package file), python (the extension module).

include(CMakePackageConfigHelpers)
set(TRINE_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/trine")
set(trine_libraries trine_core)
if(TARGET trine)
  list(APPEND trine_libraries trine)
endif()

# Where the loader looks: beside the file, then for torch in its wheel beside ours, or where it was when we were built.
if(SKBUILD)
  set(trine_torch_from_prefix "$ORIGIN/../../torch/lib")
  # A wheel has no symbolic links: each name of a library would be a copy.
  set_property(TARGET ${trine_libraries} PROPERTY VERSION)
  set_property(TARGET ${trine_libraries} PROPERTY SOVERSION)
else()
  set(trine_torch_from_prefix "${TRINE_TORCH_LIBRARY_DIR}")
  set(TRINE_TORCH_HINT "${TRINE_TORCH_ROOT}")
endif()
set_target_properties(trine_core PROPERTIES INSTALL_RPATH "$ORIGIN")
if(TARGET trine)
  set_target_properties(trine PROPERTIES INSTALL_RPATH "$ORIGIN;${trine_torch_from_prefix}")
endif()

install(TARGETS trine_core EXPORT trine_core_targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT devel)
install(EXPORT trine_core_targets NAMESPACE trine:: DESTINATION ${TRINE_CMAKE_DIR} COMPONENT devel)
if(TARGET trine)
  install(TARGETS trine EXPORT trine_targets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT devel)
  install(EXPORT trine_targets NAMESPACE trine:: DESTINATION ${TRINE_CMAKE_DIR} COMPONENT devel)
endif()
if(TARGET trine_cli)
  set_target_properties(trine_cli PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR};${trine_torch_from_prefix}")
  install(TARGETS trine_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime)
endif()
if(TARGET _trine AND SKBUILD)
  set_target_properties(_trine PROPERTIES INSTALL_RPATH "$ORIGIN/${CMAKE_INSTALL_LIBDIR};$ORIGIN/../torch/lib")
  install(TARGETS _trine LIBRARY DESTINATION . COMPONENT python)
  install(FILES python/_trine_command.py DESTINATION "${SKBUILD_PLATLIB_DIR}" COMPONENT python)
endif()

install(DIRECTORY models/ DESTINATION ${CMAKE_INSTALL_DATADIR}/trine/models COMPONENT runtime
  PATTERN train EXCLUDE PATTERN evaluation EXCLUDE)
install(DIRECTORY include/ DESTINATION include COMPONENT devel)

configure_package_config_file(cmake/trine-config.cmake.in "${CMAKE_BINARY_DIR}/trine-config.cmake"
  INSTALL_DESTINATION ${TRINE_CMAKE_DIR} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${CMAKE_BINARY_DIR}/trine-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/trine-config.cmake" "${CMAKE_BINARY_DIR}/trine-config-version.cmake"
  cmake/FindTrineTorch.cmake DESTINATION ${TRINE_CMAKE_DIR} COMPONENT devel)
