# SPDX-License-Identifier: BSD-2-Clause
# `cpack -G DEB` in the build directory: libpinmemMAJOR, libpinmem-dev, pinmem-tools.
# Configure with -DCMAKE_INSTALL_PREFIX=/usr, so that libraries go where Debian has
# them (/usr/lib/TRIPLET). tests/install/packages builds, installs and tries them.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME pinmem)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "") # the first line of each description is
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_PACKAGE_CONTACT "The libpinmem authors <maintainers@pinmem.invalid>"
	CACHE STRING "Maintainer of the packages")
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL lib dev tools)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS ON)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SOURCE pinmem)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BINARY_DIR})
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(PINMEM_LIB_PACKAGE libpinmem${PROJECT_VERSION_MAJOR})
set(CPACK_DEBIAN_LIB_PACKAGE_NAME ${PINMEM_LIB_PACKAGE})
set(CPACK_DEBIAN_LIB_PACKAGE_SECTION libs)
set(CPACK_COMPONENT_LIB_DESCRIPTION
"long-term pinned memory: shared library
Looks at what lies behind a range of memory before it is pinned for RDMA or
io_uring; pins it, or names the way out (ODP, staging) or the reason of a
refusal; remembers registrations in a cache that is never stale; and tells
what an unpin did to the pages.")
# Who links the library depends on the first release with the newest map node.
file(WRITE ${CMAKE_BINARY_DIR}/packages/shlibs
	"libpinmem ${PROJECT_VERSION_MAJOR} ${PINMEM_LIB_PACKAGE} "
	"(>= ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})\n")
file(WRITE ${CMAKE_BINARY_DIR}/packages/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_LIB_PACKAGE_CONTROL_EXTRA ${CMAKE_BINARY_DIR}/packages/shlibs
	${CMAKE_BINARY_DIR}/packages/triggers)
set(CPACK_DEBIAN_TOOLS_PACKAGE_CONTROL_EXTRA ${CMAKE_BINARY_DIR}/packages/triggers)

set(CPACK_DEBIAN_DEV_PACKAGE_NAME libpinmem-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_RECOMMENDS # to link the static library
	"liburing-dev, libibverbs-dev, libnuma-dev, libpmem-dev")
set(CPACK_COMPONENT_DEV_DEPENDS lib)
set(CPACK_COMPONENT_DEV_DESCRIPTION
"long-term pinned memory: header, static library, manual
What programs that use libpinmem are built with: pinmem.h, the files of
pkg-config and CMake, the static library, and the manual pages of each call.")

set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME pinmem-tools)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_TOOLS_PACKAGE_RECOMMENDS ibverbs-providers)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SUGGESTS "gnuplot-nox, libucx0")
set(CPACK_COMPONENT_TOOLS_DEPENDS lib)
set(CPACK_COMPONENT_TOOLS_DESCRIPTION
"long-term pinned memory: the command pinmem
Says what this machine and this user can pin, whether a file or memory may
be pinned and why not, which processes hold which regions, and what
registrations cost.")
if(TARGET pinmem_verbs)
	string(APPEND CPACK_COMPONENT_TOOLS_DESCRIPTION "

With libpinmem-verbs.so, to be preloaded: verdicts, ODP and the cache for
programs that call libibverbs.")
endif()

# What Debian wants in each package: copyright, changelog, compressed manual pages.
string(TIMESTAMP PINMEM_DATE "%a, %d %b %Y %H:%M:%S +0000" UTC)
configure_file(cmake/debian-files.cmake.in packages/debian-files.cmake @ONLY)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_BINARY_DIR}/packages/debian-files.cmake)
include(CPack)
