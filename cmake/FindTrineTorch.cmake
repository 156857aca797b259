# Finds LibTorch and gives the target trine_torch (and trine_torch_python for extension modules).
#
# With Torch_DIR set (a libtorch archive, conda), PyTorch's own package file is used. Otherwise the pip wheel of
# Python_EXECUTABLE is taken, found without importing it and without PyTorch's package file: that one wants a CUDA toolkit
# and nvcc as soon as the wheel is a CUDA build.

set(TRINE_TORCH_VERSION "2.13" CACHE STRING "The LibTorch release this library is made for")

function(_trine_check_torch_version version where)
  string(REPLACE "." "\\." wanted "${TRINE_TORCH_VERSION}")
  if(NOT version MATCHES "^${wanted}(\\.|$)")
    message(FATAL_ERROR "trine needs torch ${TRINE_TORCH_VERSION}.*, but ${where} is torch ${version}: "
      "install it with `python3 -m pip install 'torch==${TRINE_TORCH_VERSION}.*'` in the Python that CMake uses, or set Torch_DIR.")
  endif()
endfunction()

if(TARGET trine_torch)
  return()
endif()

if(Torch_DIR)
  find_package(Torch REQUIRED CONFIG)
  _trine_check_torch_version("${Torch_VERSION}" "${Torch_DIR}")
  add_library(trine_torch INTERFACE IMPORTED GLOBAL)
  target_link_libraries(trine_torch INTERFACE ${TORCH_LIBRARIES})
  get_target_property(_trine_torch_library torch_cpu LOCATION)
  if(NOT _trine_torch_library)
    get_target_property(_trine_torch_library torch LOCATION)
  endif()
  get_filename_component(TRINE_TORCH_LIBRARY_DIR "${_trine_torch_library}" DIRECTORY)
  return()
endif()

if(NOT TRINE_TORCH_ROOT)
  if(NOT Python_EXECUTABLE)
    find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
  endif()
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c
      "import importlib.util as u; s = u.find_spec('torch'); print(list(s.submodule_search_locations)[0] if s else '')"
    OUTPUT_VARIABLE TRINE_TORCH_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
endif()
if(NOT EXISTS "${TRINE_TORCH_ROOT}/version.py")
  message(FATAL_ERROR "trine needs torch ${TRINE_TORCH_VERSION}.*, and ${Python_EXECUTABLE} has none: install it with "
    "`${Python_EXECUTABLE} -m pip install 'torch==${TRINE_TORCH_VERSION}.*'`, or set Torch_DIR.")
endif()
file(STRINGS "${TRINE_TORCH_ROOT}/version.py" _trine_version_line REGEX "^__version__ *=")
string(REGEX REPLACE ".*['\"]([^'\"]+)['\"].*" "\\1" _trine_version "${_trine_version_line}")
_trine_check_torch_version("${_trine_version}" "${TRINE_TORCH_ROOT}")

set(TRINE_TORCH_LIBRARY_DIR "${TRINE_TORCH_ROOT}/lib")
message(STATUS "torch ${_trine_version} in ${TRINE_TORCH_ROOT}")
add_library(trine_torch INTERFACE IMPORTED GLOBAL)
target_include_directories(trine_torch SYSTEM INTERFACE
  "${TRINE_TORCH_ROOT}/include" "${TRINE_TORCH_ROOT}/include/torch/csrc/api/include")
foreach(_name torch torch_cpu c10)
  target_link_libraries(trine_torch INTERFACE "${TRINE_TORCH_LIBRARY_DIR}/lib${_name}.so")
endforeach()
# Nothing of ours names a symbol of the CUDA library; without this the linker drops it and with it every CUDA kernel.
if(EXISTS "${TRINE_TORCH_LIBRARY_DIR}/libtorch_cuda.so")
  target_link_options(trine_torch INTERFACE
    "-Wl,--push-state,--no-as-needed,${TRINE_TORCH_LIBRARY_DIR}/libtorch_cuda.so,${TRINE_TORCH_LIBRARY_DIR}/libc10_cuda.so,--pop-state")
  # What these load in turn lies in NVIDIA's own wheels, which the loader finds by their rpath and the linker does not.
  target_link_options(trine_torch INTERFACE -Wl,--allow-shlib-undefined)
endif()

add_library(trine_torch_python INTERFACE IMPORTED GLOBAL)
target_link_libraries(trine_torch_python INTERFACE trine_torch "${TRINE_TORCH_LIBRARY_DIR}/libtorch_python.so")
