# Where things lie, the same in the build tree and installed: the library looks for ../share/trine/models beside itself.

file(MAKE_DIRECTORY "${CMAKE_BINARY_DIR}/share/trine")
file(CREATE_LINK "${CMAKE_CURRENT_SOURCE_DIR}/models" "${CMAKE_BINARY_DIR}/share/trine/models" SYMBOLIC)
