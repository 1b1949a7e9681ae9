# The same programs for every way to get at the targets.
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_EXTENSIONS OFF)
foreach(library IN ITEMS fourbit shared static)
    add_executable(c_${library} ${CMAKE_CURRENT_LIST_DIR}/main.c)
    target_link_libraries(c_${library} PRIVATE fourbit::${library} m)
endforeach()
add_executable(cpp_program ${CMAKE_CURRENT_LIST_DIR}/main.cpp ${CMAKE_CURRENT_LIST_DIR}/other.cpp)
target_link_libraries(cpp_program PRIVATE fourbit::cpp)
