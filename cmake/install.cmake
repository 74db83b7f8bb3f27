# SPDX-License-Identifier: BSD-2-Clause
# What `cmake --install` installs, and how other builds find it: pkg-config
# (pinmem.pc) and find_package(pinmem) with the targets pinmem::pinmem and
# pinmem::pinmem_static. tests/install tries all of it.
include(CMakePackageConfigHelpers)

# Files from here are in a component that says so, or else in "tools".
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME tools)
set(PINMEM_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/pinmem)

# One object whose hidden symbols are local. An archive of the plain objects would
# bring names such as fail() into the programs that link it.
add_custom_command(OUTPUT pinmem_whole.o
	COMMAND ${CMAKE_LINKER} -r -o pinmem_whole.o $<TARGET_OBJECTS:pinmem_objects>
	COMMAND ${CMAKE_OBJCOPY} --localize-hidden pinmem_whole.o
	DEPENDS pinmem_objects $<TARGET_OBJECTS:pinmem_objects>
	COMMAND_EXPAND_LISTS VERBATIM)
add_library(pinmem_static STATIC ${CMAKE_CURRENT_BINARY_DIR}/pinmem_whole.o)
set_target_properties(pinmem_static PROPERTIES OUTPUT_NAME pinmem
	LINKER_LANGUAGE C)
target_include_directories(pinmem_static INTERFACE
	$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/lib>
	$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
# What the shared library has in itself, and who links the static one must name.
set(PINMEM_PRIVATE_LIBS -luring -libverbs -lnuma -lpmem -pthread)
target_link_libraries(pinmem_static INTERFACE ${PINMEM_PRIVATE_LIBS})
add_library(pinmem::pinmem ALIAS pinmem)
add_library(pinmem::pinmem_static ALIAS pinmem_static)

install(TARGETS pinmem EXPORT pinmem
	LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT lib
		NAMELINK_COMPONENT dev
	PUBLIC_HEADER DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT dev)
install(TARGETS pinmem_static EXPORT pinmem
	ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)

install(EXPORT pinmem FILE pinmemConfig.cmake NAMESPACE pinmem::
	DESTINATION ${PINMEM_CMAKE_DIR} COMPONENT dev)
write_basic_package_version_file(pinmemConfigVersion.cmake
	COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/pinmemConfigVersion.cmake
	DESTINATION ${PINMEM_CMAKE_DIR} COMPONENT dev)

file(RELATIVE_PATH PINMEM_PC_PREFIX
	${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" PINMEM_PC_PREFIX ${PINMEM_PC_PREFIX})
string(JOIN " " PINMEM_PC_PRIVATE ${PINMEM_PRIVATE_LIBS})
configure_file(pinmem.pc.in pinmem.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/pinmem.pc
	DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)

install(FILES README.md CHANGELOG.md
	DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT dev)
install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT dev
	FILES_MATCHING PATTERN "*.[ch]")

# Manual pages: each as it is, and for every further name in its NAME section a page
# of one line that leads to it.
file(GLOB PINMEM_PAGES CONFIGURE_DEPENDS man/*.[1-8])
foreach(page ${PINMEM_PAGES})
	get_filename_component(file ${page} NAME)
	string(REGEX REPLACE ".*\\." "" section ${file})
	set(component dev)
	if(section EQUAL 1)
		set(component tools)
	endif()
	set(files ${page})
	file(STRINGS ${page} names REGEX "^\\.Nm [a-z][a-z_]+ ?,?$")
	foreach(name ${names})
		string(REGEX REPLACE "^\\.Nm ([a-z_]+).*" "\\1.${section}" link ${name})
		if(NOT EXISTS ${PROJECT_SOURCE_DIR}/man/${link})
			file(CONFIGURE OUTPUT man/${link} CONTENT
				".so man${section}/${file}\n" @ONLY)
			list(APPEND files ${CMAKE_CURRENT_BINARY_DIR}/man/${link})
		endif()
	endforeach()
	install(FILES ${files} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section}
		COMPONENT ${component})
	set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${page})
endforeach()
